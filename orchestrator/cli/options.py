"""Options that several commands have, and what is typed behind them."""

from __future__ import annotations

import json
import math
from typing import Final

import click
from click.shell_completion import CompletionItem


def _resources(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    resources = {}
    for text in texts:
        name, separator, amount = text.partition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            separator = ""
        if not name or not separator or not 0 <= resources[name] < math.inf:
            raise click.BadParameter(f"{text!r} is not NAME=AMOUNT, with a number from 0 on")
    return resources


def _settings(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


resource_option: Final = click.option(
    "--resource",
    "resources",
    multiple=True,
    callback=_resources,
    metavar="NAME=AMOUNT",
    help="What nodes may claim by resources={NAME: ...}, as gpu=2. May be repeated.",
)

output_option: Final = click.option(
    "--output",
    type=click.Choice(["plain", "tagged"]),
    default="plain",
    help="Print what bodies print as it is, or with the node, run and attempt before each line.",
)


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell may complete for a TARGET."""
    return [CompletionItem(incomplete, type="file")]


setting_option: Final = click.option(
    "--set",
    "parameters",
    multiple=True,
    callback=_settings,
    metavar="NAME=VALUE",
    help="Give a parameter a value: JSON, else a string. May be repeated.",
)
