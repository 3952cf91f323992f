"""The commands about a coordinator in a process of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import show
from orchestrator.cli.exits import reporting
from orchestrator.cli.loading import load
from orchestrator.cli.options import files, output_option, resource_option
from orchestrator.graph.flow import Flow
from orchestrator.report import RunReport

if TYPE_CHECKING:
    from orchestrator.service.client import CoordinatorClient
    from orchestrator.service.handle import FlowHandle

_WATCH_S: Final = 0.5


def run_there(
    endpoint: str,
    flow: Flow,
    parameters: dict[str, object],
    label: str,
    output: str,
    *,
    keep_going: bool,
) -> RunReport:
    """Run a flow on a coordinator, follow it, and cancel it on Ctrl-C."""
    from orchestrator.cli.display import Display  # noqa: PLC0415 - other commands start faster without

    with _connected(endpoint) as client, Display() as display:
        handle = client.submit(
            flow, parameters=parameters, label=label, terminate_on_node_error=not keep_going
        )
        display.follow(handle)
        _print_as(output, handle)
        return handle.finish()


def _print_as(output: str, handle: FlowHandle) -> None:
    if output == "tagged":
        from executor.showing import TaggedPrint  # noqa: PLC0415 - other commands start faster without

        handle.on_output = TaggedPrint()


def begin(
    endpoint: str, flow: Flow, parameters: dict[str, object], label: str, *, keep_going: bool
) -> None:
    """Begin a flow that goes on without us."""
    with _connected(endpoint) as client:
        handle = client.submit(
            flow,
            parameters=parameters,
            label=label,
            terminate_on_node_error=not keep_going,
            detach=True,
        )
        client.status()  # meanwhile it is told, and printed, what it waits for, if it does
        click.echo(
            f"run {handle.run} begins; follow it with: orchestrator follow {endpoint} {handle.run}"
        )


@click.command()
@click.option("--listen", "endpoint", required=True, metavar="ENDPOINT", help="Where clients connect.")
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(min=0),
    help="Worker processes of its own (default: one per processor); 0 waits for some to join.",
)
@resource_option
def coordinator(endpoint: str, workers: int | None, resources: dict[str, float]) -> None:
    """Run flows of several clients on one pool of workers.

    It goes on until Ctrl-C, SIGTERM or 'orchestrator stop'.
    """
    from executor.dropping import DroppingLog  # noqa: PLC0415 - other commands start faster without
    from orchestrator.service.server import serve  # noqa: PLC0415

    handlers = [DroppingLog()]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )

    def say_ready(bound: str, count: int) -> None:
        click.echo(f"listening on {bound}; workers: {count}", err=True)

    with reporting():
        serve(endpoint, workers, say_ready, resources)


@click.command()
@click.argument("endpoint")
@click.option(
    "--processes",
    "-n",
    type=click.IntRange(min=1),
    help="Worker processes to bring (default: one per processor).",
)
@resource_option
def worker(endpoint: str, processes: int | None, resources: dict[str, float]) -> None:
    """Bring worker processes to the coordinator on ENDPOINT.

    Ctrl-C lets them finish what they run and leave; a second one ends them at once.
    """
    from orchestrator.service.agent import bring_workers  # noqa: PLC0415

    with reporting():
        say = partial(click.echo, err=True)
        bring_workers(endpoint, processes, say, resources)


@click.command()
@click.argument("endpoint")
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print it as a line of JSON.")
def status(endpoint: str, *, watch: bool, as_json: bool) -> None:
    """Show the flows and workers of the coordinator on ENDPOINT."""
    with reporting(), _connected(endpoint) as client:
        if as_json:
            click.echo(json.dumps(show.as_json(client.status())))
        elif watch:
            with suppress(KeyboardInterrupt):  # the way to end it
                show.watch_status(client.status, _WATCH_S)
        else:
            show.status(client.status())


@click.command()
@click.argument("endpoint")
@click.argument("run", type=int)
@output_option
@click.option("--json", "as_json", is_flag=True, help="End with the run's report as a line of JSON.")
def follow(endpoint: str, run: int, output: str, *, as_json: bool) -> None:
    """Follow flow RUN, whoever began it, to its end.

    Shows its progress and what it prints from now on, and ends as it does, with its error if it fails;
    also if it has ended lately. On Ctrl-C the flow goes on.
    """
    from orchestrator.cli.display import Display  # noqa: PLC0415 - other commands start faster without

    with reporting(), _connected(endpoint) as client:
        handle = client.handle(run)
        try:
            with Display() as display:
                display.follow(handle)
                _print_as(output, handle)
                report = handle.result()
        except KeyboardInterrupt as error:
            if not show.is_of_node(error):
                click.echo(
                    f"run {run} goes on; end it with: orchestrator cancel {endpoint} {run}", err=True
                )
            raise
        show.report(report, as_json=as_json)


@click.command()
@click.argument("endpoint")
@click.argument("run", type=int)
def cancel(endpoint: str, run: int) -> None:
    """Cancel flow RUN (its number in 'orchestrator status')."""
    with reporting(), _connected(endpoint) as client:
        client.cancel(run)
        click.echo(f"run {run} is being cancelled")


@click.command()
@click.argument("endpoint")
@click.option("--wait", is_flag=True, help="Return when the coordinator has ended.")
def drain(endpoint: str, *, wait: bool) -> None:
    """Let the coordinator end with its last flow.

    It takes no more flows from now on.
    """
    with reporting(), _connected(endpoint) as client:
        client.drain()
        if wait:
            client.wait_ended()
        click.echo("the coordinator has ended" if wait else "the coordinator takes no more flows")


@click.command()
@click.argument("endpoint")
def stop(endpoint: str) -> None:
    """Cancel all flows and end the coordinator.

    Returns when it has ended.
    """
    with reporting(), _connected(endpoint) as client:
        client.stop()
        client.wait_ended()
        click.echo("the coordinator has ended")


@click.command()
@click.argument("flow", metavar="TARGET|RUN", shell_complete=files)
@click.argument("node")
@click.option("--connect", "endpoint", metavar="ENDPOINT", help="Ask the coordinator that runs it.")
def why(flow: str, node: str, endpoint: str | None) -> None:
    """Say what feeds NODE and what it waits for.

    The flow is a TARGET, or with --connect the number of a run: then the coordinator says what the node
    waits for now.
    """
    with reporting():
        is_run = flow.isdecimal()
        if not is_run:
            show.inputs_of(load(flow).plan(), node)
        elif endpoint is None:
            raise click.UsageError(f"run {flow} of which coordinator? Add --connect ENDPOINT")
        if endpoint is not None:
            with _connected(endpoint) as client:
                show.waits(client.waits(flow, node))


@contextmanager
def _connected(endpoint: str) -> Iterator[CoordinatorClient]:
    from orchestrator.service.client import connect  # noqa: PLC0415 - other commands start faster without

    with connect(endpoint) as client:
        yield client


COMMANDS: Final = (coordinator, worker, status, follow, why, cancel, drain, stop)
