"""The command line as a user meets it: exit codes, messages, JSON, and the main job (items 10, 11)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = """
from orchestrator import Flow, node, parameter

@node
def add(a, b=1):
    return a + b

@node(placement="inline")
def show(x):
    print("sum", x)

with Flow() as flow:
    flow.sum = add(parameter("a", 1), parameter("b", 2))
    flow.shown = show(flow.sum)
"""


def command(*arguments: str, cwd: Path, timeout: float = 25) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, "XDG_RUNTIME_DIR": str(cwd)},
        check=False,
    )


def job(tmp_path: Path, code: str) -> Path:
    (tmp_path / "job.py").write_text(code)
    return tmp_path


def test_run_runs_a_file_s_only_flow_and_takes_settings_as_json_or_strings(tmp_path: Path) -> None:
    job(tmp_path, GOOD)
    assert command("run", "job.py", cwd=tmp_path).stdout == "sum 3\n"
    ended = command("run", "job.py:flow", "--set", "a=[1]", "--set", "b=[2]", cwd=tmp_path)
    assert ended.stdout == "sum [1, 2]\n"
    ended = command("run", "job:flow", "-w", "1", "--set", "a=x", "--set", 'b="y"', cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "sum xy\n", "")


def test_json_is_the_last_line(tmp_path: Path) -> None:
    ended = command("run", "job.py", "--workers", "0", "--json", cwd=job(tmp_path, GOOD))
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["status"] == "done"
    assert report["nodes"]["sum"]["runs"] == 1


KEEP_GOING = """
from orchestrator import Flow, node

@node(resources={"tape": 1})
def one(): return 1

@node
def fail(what, x): raise LookupError(what)

@node
def use(*xs): return sum(xs)

with Flow() as flow:
    flow.one = one()
    flow.bad = fail("this", flow.one)
    flow.worse = fail("that", flow.one)
    flow.all = use(flow.bad, flow.worse)
    flow.fine = use(flow.one)
"""


def test_keep_going_runs_the_rest_and_tells_all_that_failed(tmp_path: Path) -> None:
    cwd = job(tmp_path, KEEP_GOING)
    ended = command("run", "job.py", "-k", "-w", "1", "--resource", "tape=1", cwd=cwd)
    assert ended.returncode == 1, ended
    *told, end = ended.stderr.removeprefix("error: ").strip().split("\n\n")
    assert sorted(each.splitlines()[0] for each in told) == ["LookupError: that", "LookupError: this"]
    for each in told:
        assert each.count("in fail") == 1  # its own traceback
        assert "not run" not in each
    assert end == "2 nodes failed; not run, because they need what failed: all"


def test_check_prints_the_graph_and_its_delays(tmp_path: Path) -> None:
    ended = command(
        "check",
        "job.py",
        cwd=job(
            tmp_path,
            "from orchestrator import Flow, node\n"
            "@node\ndef step(x=0): return x + 1\n"
            "with Flow() as flow:\n    flow.count = step(flow.count)\n",
        ),
    )
    assert ended.returncode == 0
    assert "count" in ended.stdout
    assert "1 generation behind" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nowhere.py"), GOOD, "there is no file 'nowhere.py'"),
        (("run", "nowhere:flow"), GOOD, "there is no module 'nowhere'"),
        (("run", "job"), GOOD, "did you mean job.py"),
        (("run", "job.py:other"), GOOD, "'other' is not defined in job.py; it defines flow"),
        (("run", "job.py"), "x = 1", "defines no Flow"),
        (("run", "job.py"), "import nothing_like_it", "No module named 'nothing_like_it'"),
        (("run", "job.py"), "1 / 0", "ZeroDivisionError"),
        (("run", "job.py", "--set", "c=1"), GOOD, "no parameter 'c'; it has: a, b"),
        (("run", "job.py", "--set", "c"), GOOD, "not NAME=VALUE"),
        (("run", "job.py", "--workers", "-1"), GOOD, "-1"),
        (("run",), GOOD, "Missing argument"),
        (
            ("check", "job.py"),
            (
                "from orchestrator import Flow, node\n"
                "@node\ndef step(x): return x\n"
                "with Flow() as flow:\n    flow.a = step(flow.b)\n    flow.b = step(flow.a)\n"
            ),
            "Detected a cycle without default values",
        ),
        (
            ("run", "job.py"),
            (
                "from orchestrator import Flow, node\n"
                "@node\ndef step(x): return x\n"
                "with Flow() as flow:\n    flow.a = step(flow.undefined)\n"
            ),
            "undefined",
        ),
        (
            ("run", "job.py"),
            (
                "from orchestrator import Flow, Stream, node\n"
                "@node\ndef one(): return 1\n"
                "@node\ndef read(s: Stream): return list(s)\n"
                "with Flow() as flow:\n    flow.a = one()\n    flow.b = read(flow.a)\n"
            ),
            "'a'",
        ),
        (
            ("run", "job.py"),
            (
                "import threading\nfrom orchestrator import Flow, node\n"
                "@node\ndef take(x): return 1\n"
                "with Flow() as flow:\n    flow.a = take([threading.Lock()])\n"
            ),
            "[0]",
        ),
    ],
)
def test_an_invalid_flow_or_usage_is_exit_code_2_and_a_clear_error(
    tmp_path: Path, arguments: tuple[str, ...], code: str, message: str
) -> None:
    ended = command(*arguments, cwd=job(tmp_path, code))
    assert ended.returncode == 2, ended
    assert message in ended.stderr
    assert "orchestrator/cli" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["job.py"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("sys.exit(5)", "SystemExit: 5"),
        ("os._exit(0)", "exit"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("return threading.Lock()", "cannot be pickled"),
    ],
)
def test_a_node_that_fails_is_exit_code_1_and_named(tmp_path: Path, body: str, message: str) -> None:
    code = (
        "import os, sys, threading\nfrom orchestrator import Flow, node\n"
        f"@node\ndef bad():\n    {body}\n"
        "with Flow() as flow:\n    flow.culprit = bad()\n"
    )
    ended = command("run", "job.py", "-w", "2", cwd=job(tmp_path, code))
    assert ended.returncode == 1, ended
    assert message in ended.stderr
    assert "culprit" in ended.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["job.py"]


def test_an_inline_node_that_fails_shows_the_user_s_frames_only(tmp_path: Path) -> None:
    ended = command("run", "job.py", "-w", "0", "--set", "a=1", "--set", "b=x", cwd=job(tmp_path, GOOD))
    assert ended.returncode == 1
    assert "return a + b" in ended.stderr
    assert "/orchestrator/" not in ended.stderr.replace(str(tmp_path), "")


def test_ctrl_c_is_exit_code_130(tmp_path: Path) -> None:
    job(
        tmp_path,
        "import time\nfrom orchestrator import Flow, node\n"
        "@node\ndef slow():\n    print('on', flush=True)\n    time.sleep(100)\n"
        "with Flow() as flow:\n    flow.slow = slow()\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "job.py", "-w", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["job.py"]


def test_the_census_prints_the_same_table_for_any_number_of_workers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("def f(x):\n    return 1 if x and x > 1 else 2\n")
    (source / "b.py").write_text(
        "def g(x):\n    for y in x:\n        if y: pass\n\nasync def h(): ...\n"
    )
    (source / "broken.py").write_text("def (:\n")
    tables = [
        command(
            "run", str(ROOT / "examples/code_census.py"), "-w", workers, "--set", "root=source",
            cwd=tmp_path,
        ).stdout
        for workers in ("0", "1", "2")
    ]  # fmt: skip
    assert tables[0] == tables[1] == tables[2]
    assert tables[0].splitlines() == [
        "complexity  function",
        "         3  f  (a.py:1)",
        "         3  g  (b.py:1)",
        "         1  h  (b.py:5)",
        "3 files (1 unreadable), 7 lines, 3 functions, mean complexity 2.33",
    ]


PRINTING = """
from orchestrator import Flow, node

@node
def count():
    for number in range(2):
        print("chunk", number)
        yield number

@node
def double(n):
    print("doubles", n)
    return 2 * n

with Flow() as flow:
    flow.numbers = count()
    flow.doubled = double.map(flow.numbers)
"""


def test_output_may_be_tagged_and_dropped(tmp_path: Path) -> None:
    job(tmp_path, PRINTING)
    for options in ([], ["--drop-output"]):
        ended = command("run", "job.py", "-w", "1", "--output", "tagged", *options, cwd=tmp_path)
        assert sorted(ended.stdout.splitlines()) == [
            "[doubled element 0] doubles 0",
            "[doubled element 1] doubles 1",
            "[numbers] chunk 0",
            "[numbers] chunk 1",
        ]
    ended = command("run", "job.py", "-w", "0", "--drop-output", cwd=tmp_path)
    assert ended.returncode == 2
    assert "about workers that are started here" in ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_run_goes_on_without_a_word_when_nobody_reads_its_output_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """As with ``| head``: what the flow does beside printing is done."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    job(tmp_path, PRINTING)
    read_end, write_end = os.pipe()
    os.close(read_end)
    for arguments in (("run", "job.py", "-w", "1"), ("check", "job.py"), ("run", "job.py", "--json")):
        ended = subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=tmp_path,
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=25,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0 if "-w" in arguments else 1, b"")
    os.close(write_end)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_run_needs_no_standard_output_or_error(tmp_path: Path, closed: int) -> None:
    job(tmp_path, PRINTING)
    line = f'exec "$0" -m orchestrator run job.py --workers 1 {closed}>&-'
    ended = subprocess.run(
        ["sh", "-c", line, sys.executable], cwd=tmp_path, capture_output=True, timeout=25, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_shell_may_complete_commands_and_the_files_of_targets(tmp_path: Path) -> None:
    def completed(*words: str) -> str:
        environment = {
            "_ORCHESTRATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("orchestrator", *words)),
            "COMP_CWORD": str(len(words)),
        }
        script = "from orchestrator.cli import main; main(prog_name='orchestrator')"
        return subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            check=False,
        ).stdout

    assert completed("coor") == "plain,coordinator\n"
    assert completed("run", "jo") == "file,jo\n"
