"""What README shows works as it is written."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = [
    block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "import" in block
]


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_its_comment_says(code: str, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(b"x" * 3_000_000)
    (tmp_path / "example.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    digest = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    [printed] = re.findall(r"print\(.*\)\s+# (.*)", code)
    assert ended.stdout.strip() == printed.replace('"9f86d0…"', repr(digest))


def test_the_command_that_ci_runs_is_the_one_that_readme_gives() -> None:
    [given] = re.findall(r"## Run the tests\n\n```console\n(.*?)\n```", README)
    script = (ROOT / ".ci" / "run").read_text()
    for command in given.split(" && "):
        words = command.replace("pip install", "pip install --quiet")
        assert words in script, command
