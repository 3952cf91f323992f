"""The command line: ``orchestrator run``, ``check``, and the commands about a service."""

from __future__ import annotations

import json

import click

from orchestrator.cli import service, show
from orchestrator.cli.exits import reporting
from orchestrator.cli.loading import load
from orchestrator.graph.flow import Flow
from orchestrator.report import RunReport


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
@click.argument("target")
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(min=0),
    help="Worker processes (default: one per processor); 0 runs all in this process.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Give a parameter a value: JSON, else a string. May be repeated.",
)
@click.option(
    "--connect",
    "endpoint",
    metavar="ENDPOINT",
    help="Run it on the coordinator that listens on ipc://PATH.",
)
@click.option("--detach", is_flag=True, help="With --connect: begin it and return at once.")
@click.option("--json", "as_json", is_flag=True, help="End with the run's report as a line of JSON.")
def run(
    target: str,
    workers: int | None,
    settings: tuple[str, ...],
    endpoint: str | None,
    *,
    detach: bool,
    as_json: bool,
) -> None:
    """Run the flow of TARGET."""
    if endpoint is None and detach:
        raise click.UsageError("--detach needs --connect ENDPOINT: nothing here outlives this command")
    if endpoint is not None and workers is not None:
        raise click.UsageError("give either --workers or --connect: a coordinator has its own workers")
    parameters = dict(_setting(setting) for setting in settings)
    flow = load(target)
    with reporting():
        if endpoint is None:
            report = _run_here(flow, workers, parameters)
        elif detach:
            service.begin(endpoint, flow, parameters, target)
            return
        else:
            report = service.run_there(endpoint, flow, parameters, target)
    show.report(report, as_json=as_json)


def _run_here(flow: Flow, workers: int | None, parameters: dict[str, object]) -> RunReport:
    from orchestrator.cli.display import Display  # noqa: PLC0415 - other commands start faster without
    from orchestrator.running import run_flow  # noqa: PLC0415

    with Display() as display:
        return run_flow(flow, workers=workers, parameters=parameters, observe=display.observe)


@main.command()
@click.argument("target")
def check(target: str) -> None:
    """Plan the flow of TARGET without running it; print its graph and delays, or what is wrong."""
    with reporting():
        show.graph(load(target).plan())


def _setting(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


for command in service.COMMANDS:
    main.add_command(command)
