"""The command line: ``orchestrator run``, ``check``, and the commands about a service."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from orchestrator.cli import service, show
from orchestrator.cli.exits import reporting
from orchestrator.cli.loading import load
from orchestrator.cli.options import files, output_option, resource_option, setting_option
from orchestrator.graph.flow import Flow
from orchestrator.report import RunReport


class _Commands(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)  # as they were added, not by the alphabet


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flow-orchestrator")
def main() -> None:
    """Run dataflow graphs across worker processes.

    TARGET is module:flow, or a file path.py[:flow]; the name may be left out of a file that
    defines one flow.

    ENDPOINT is ipc://PATH, a socket file in a directory that only you can enter.

    Exit codes: 0 done, 1 a node failed, 2 usage or an invalid flow, 69 no coordinator there, or it
    has ended, 78 it is of another version, 130 interrupted.
    """


@main.command()
@click.argument("target", shell_complete=files)
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(min=0),
    help="Worker processes (default: one per processor); 0 runs all in this process.",
)
@setting_option
@click.option(
    "--keep-going",
    "-k",
    is_flag=True,
    help="Run all that does not need a failed node; else the first failure ends the run.",
)
@resource_option
@output_option
@click.option(
    "--drop-output",
    is_flag=True,
    help="Let no body wait for what it prints to be read: drop what comes too fast, and say how much.",
)
@click.option(
    "--connect",
    "endpoint",
    metavar="ENDPOINT",
    help="Run it on the coordinator that listens on ipc://PATH.",
)
@click.option("--detach", is_flag=True, help="With --connect: begin it and return at once.")
@click.option("--json", "as_json", is_flag=True, help="End with the run's report as a line of JSON.")
def run(  # noqa: PLR0913 - every option by its name
    target: str,
    workers: int | None,
    parameters: dict[str, object],
    resources: dict[str, float],
    endpoint: str | None,
    *,
    keep_going: bool,
    output: str,
    drop_output: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Run the flow of TARGET."""
    if endpoint is None and detach:
        raise click.UsageError("--detach needs --connect ENDPOINT: nothing here outlives this command")
    if endpoint is not None and workers is not None:
        raise click.UsageError("give either --workers or --connect: a coordinator has its own workers")
    if (resources or drop_output) and (endpoint is not None or workers == 0):
        raise click.UsageError("--resource and --drop-output are about workers that are started here")
    flow = load(target)
    with reporting():
        if endpoint is None:
            options = _pool_options(resources, output, drop_output=drop_output)
            report = _run_here(flow, workers, parameters, options, keep_going=keep_going)
        elif detach:
            service.begin(endpoint, flow, parameters, target, keep_going=keep_going)
            return
        else:
            report = service.run_there(endpoint, flow, parameters, target, output, keep_going=keep_going)
        show.report(report, as_json=as_json)


def _run_here(
    flow: Flow,
    workers: int | None,
    parameters: dict[str, object],
    pool_options: dict[str, Any],
    *,
    keep_going: bool,
) -> RunReport:
    from executor.pool import Pool  # noqa: PLC0415 - other commands start faster without
    from orchestrator.cli.display import Display  # noqa: PLC0415 - as above
    from orchestrator.running import run_flow  # noqa: PLC0415

    with ExitStack() as stack:
        display = stack.enter_context(Display())
        pool = None
        if pool_options and workers != 0:
            pool, workers = stack.enter_context(Pool(workers, **pool_options)), None
        return run_flow(
            flow,
            workers=workers,
            pool=pool,
            parameters=parameters,
            terminate_on_node_error=not keep_going,
            observe=display.observe,
        )


def _pool_options(resources: dict[str, float], output: str, *, drop_output: bool) -> dict[str, Any]:
    """What a pool is to be made with, if a plain one will not do."""
    options: dict[str, Any] = {}
    if resources:
        options["resources"] = resources
    if drop_output:
        options["drop_output"] = True
    if output == "tagged":
        from executor.showing import DroppingPrint, TaggedPrint  # noqa: PLC0415 - as below

        options["show"] = TaggedPrint(DroppingPrint()) if drop_output else TaggedPrint()
    return options


@main.command()
@click.argument("target", shell_complete=files)
def check(target: str) -> None:
    """Plan the flow of TARGET without running it.

    Prints its graph and the delays on cycles, or what is wrong.
    """
    with reporting():
        show.graph(load(target).plan())


for command in service.COMMANDS:
    main.add_command(command)
