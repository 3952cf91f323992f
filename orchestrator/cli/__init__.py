"""The command line: ``orchestrator run`` and ``orchestrator check``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import NoReturn

import click

from orchestrator.cli import show
from orchestrator.cli.loading import TargetError, load_flow
from orchestrator.errors import InvalidFlowError
from orchestrator.graph.flow import Flow

EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flow-orchestrator")
def main() -> None:
    """Run dataflow graphs across worker processes.

    TARGET is module:flow, or a file path.py[:flow]; the name may be left out of a file that
    defines one flow.

    Exit codes: 0 done, 1 a node failed, 2 usage or an invalid flow, 130 interrupted.
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
@click.option("--json", "as_json", is_flag=True, help="End with the run's report as a line of JSON.")
def run(target: str, workers: int | None, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Run the flow of TARGET."""
    from orchestrator.running import run_flow  # noqa: PLC0415 - 'check' and '--help' start faster

    parameters = dict(_setting(setting) for setting in settings)
    flow = _load(target)
    progress = show.Progress()
    try:
        with progress:
            report = run_flow(flow, workers=workers, parameters=parameters, observe=progress.observe)
    except InvalidFlowError as error:
        _fail(str(error), EXIT_INVALID)
    except KeyboardInterrupt as error:
        if not show.is_of_node(error):
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)
        _fail(show.failure(error), EXIT_FAILED)
    except BaseException as error:
        # SystemExit too: a body that calls sys.exit() has failed, whatever code it gave.
        if not isinstance(error, Exception) and not show.is_of_node(error):
            raise
        _fail(show.failure(error), EXIT_FAILED)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        show.summary(report)


@main.command()
@click.argument("target")
def check(target: str) -> None:
    """Plan the flow of TARGET without running it; print its graph and delays, or what is wrong."""
    flow = _load(target)
    try:
        description = flow.plan()
    except InvalidFlowError as error:
        _fail(str(error), EXIT_INVALID)
    show.graph(description)


def _setting(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _load(target: str) -> Flow:
    try:
        return load_flow(target)
    except TargetError as error:
        if error.detail:
            click.echo(error.detail.rstrip(), err=True)
        _fail(str(error), EXIT_INVALID)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)
