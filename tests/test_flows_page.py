"""What the page about flows shows works as it is written."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import orchestrator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "flows.md"


def test_the_examples_of_the_page_run() -> None:
    failures, tests = doctest.testfile(str(PAGE), module_relative=False)
    assert tests > 60
    assert failures == 0


def test_the_page_has_every_option_of_node() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE))
    assert set(inspect.signature(orchestrator.node).parameters) - {"body"} <= described


def test_what_the_page_names_is_exported_and_its_links_lead_somewhere() -> None:
    text = PAGE.read_text()
    named = set(re.findall(r"`([A-Z]\w+(?:Error|Crashed|Released|Warning|Failed|Cancelled))`", text))
    assert named <= set(orchestrator.__all__) | {"RemoteError"}
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors
