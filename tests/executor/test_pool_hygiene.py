"""Bodies that end in odd ways, change their process, fork, leave processes (F3, F25, F26, F30)."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import pickle
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from executor import roster
from executor.host import LossReason
from executor.losses import error_of
from executor.output import Printed
from executor.pool import Pool
from executor.pool_machine import PoolMachine
from protocol import leftovers
from protocol.leftovers import make_directory, sweep
from protocol.serialization import dumps
from tests.executor.test_pool import RUN, Owner, double, is_alive, sleep, wait_for


def quiet(_: Printed) -> None:
    """Nobody needs to see what these bodies print."""


@pytest.fixture(scope="module")
def pool_of_one() -> Iterator[Pool]:
    with Pool(1, grace_s=1.0, show=quiet) as pool:
        pool.wait_ready()
        yield pool


@pytest.fixture
def owner(pool_of_one: Pool) -> Iterator[Owner]:
    yield Owner(pool_of_one)
    pool_of_one.detach(RUN)
    pool_of_one.wait_ready()


# -- the crash matrix --------------------------------------------------------------------------------


def die(how: str) -> None:
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "SIGSEGV":
        ctypes.string_at(0)
    if how == "os._exit":
        os._exit(7)
    if how == "sys.exit":
        sys.exit(7)
    if how == "C exit":
        ctypes.CDLL(None).exit(7)
    if how == "C abort":
        ctypes.CDLL(None).abort()
    if how == "stack overflow":
        resource.setrlimit(
            resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])
        )
        sys.setrecursionlimit(1 << 30)
        nested: Any = []
        for _ in range(1 << 20):
            nested = [nested]
        pickle.dumps(nested)  # recursion in C


class DiesWhenPickled:
    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        die(self.how)
        return DiesWhenPickled, (self.how,)


class DiesWhenUnpickled:
    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return die, (self.how,)


class DiesWhenCollected:
    def __init__(self, how: str) -> None:
        self.how = how
        self.itself = self

    def __del__(self) -> None:
        die(self.how)


def die_running(how: str) -> None:
    die(how)


def die_pickling(how: str) -> Any:
    return DiesWhenPickled(how)


def die_unpickling(value: object) -> None:
    raise AssertionError("not reached")


def die_in_garbage_collection(how: str) -> int:
    DiesWhenCollected(how)
    return gc.collect()


def die_at_exit(how: str) -> str:
    atexit.register(die, how)
    return "done"


WAYS = ["SIGKILL", "SIGSEGV", "os._exit", "sys.exit", "C exit", "C abort"]
STATUSES = {"SIGKILL": -9, "SIGSEGV": -11, "os._exit": 7, "C exit": 7, "C abort": -6}
WHERE: dict[str, Callable[..., object]] = {
    "running": die_running,
    "pickling": die_pickling,
    "unpickling": die_unpickling,
    "in garbage collection": die_in_garbage_collection,
}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("where", WHERE)
def test_whatever_ends_a_worker_its_attempt_is_to_blame_and_the_next_one_works_f2_f3(
    owner: Owner, how: str, where: str
) -> None:
    given = DiesWhenUnpickled(how) if where == "unpickling" else how
    owner.invoke(1, WHERE[where], dumps(given))
    owner.until(lambda: owner.ended(1))
    if how != "sys.exit":
        loss = owner.losses[1]
        assert (loss.reason, loss.status, loss.charged) == (LossReason.DIED, STATUSES[how], True)
        assert "while it ran this body" in str(error_of(loss, "n", 0, 0))
    elif where == "in garbage collection":
        assert owner.results[1] > 0  # Python says that it has ignored it
    else:
        error = owner.errors[1]
        assert "SystemExit" in f"{error.type_name}: {error.message}"
    assert owner.result(2, double, dumps(4)) == 8


def close_all_descriptors() -> None:
    os.closerange(3, 256)


def test_a_body_that_breaks_its_worker_beyond_its_own_end_is_to_blame_f2_f8(owner: Owner) -> None:
    """Its result could not be sent, nobody was charged, and it was run again for ever."""
    owner.invoke(1, close_all_descriptors)
    owner.until(lambda: owner.ended(1))
    loss = owner.losses[1]
    assert (loss.reason, loss.status, loss.charged) == (LossReason.DIED, 1, True)
    assert any("Bad file descriptor" in line for line in loss.evidence.output)
    assert owner.result(2, double, dumps(4)) == 8


def take_the_connections_place() -> None:
    ours, theirs = socket.socketpair()
    for each in (int(link.name) for link in list(Path("/proc/self/fd").iterdir())):
        with suppress(OSError), socket.socket(fileno=os.dup(each)) as copy:
            if each != ours.fileno() and str(copy.getpeername()).endswith("coordinator"):
                os.dup2(ours.detach(), each)
                theirs.detach()  # else what is sent would end the worker
                return
    raise AssertionError("there is no connection")


def test_a_worker_of_which_nothing_can_be_heard_any_more_is_killed_f2(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sent its result to whatever has the number of its connection now, and waits there."""
    monkeypatch.setattr(roster, "PARTED_S", 0.01)
    owner.invoke(1, take_the_connections_place)
    owner.until(lambda: owner.ended(1))
    assert owner.losses[1].reason is LossReason.ENDED
    assert owner.result(2, double, dumps(4)) == 8


def test_a_stack_overflow_in_c_is_a_crash_as_any_other(owner: Owner) -> None:
    owner.invoke(1, die_running, dumps("stack overflow"))
    owner.until(lambda: owner.ended(1))
    if 1 in owner.losses:
        assert owner.losses[1].status == -11
        assert owner.losses[1].charged
    else:
        assert owner.errors[1].type_name == "RecursionError"  # where Python guards its C code
    assert owner.result(2, double, dumps(4)) == 8


def touch_at_exit(path: Path) -> None:
    atexit.register(path.touch)


def test_what_bodies_registered_for_the_exit_is_done_when_a_worker_ends_in_order(tmp_path: Path) -> None:
    with Pool(1, show=quiet) as pool:
        Owner(pool).result(1, touch_at_exit, dumps(tmp_path / "left"))
    assert (tmp_path / "left").exists()


def test_what_raises_or_dies_at_exit_has_no_effect_on_results_f32() -> None:
    for how in ("SIGSEGV", "sys.exit"):
        with Pool(1, show=quiet) as pool:
            assert Owner(pool).result(1, die_at_exit, dumps(how)) == "done"


# -- what bodies leave behind ------------------------------------------------------------------------


def spoil(directory: str) -> None:
    os.chdir(directory)
    os.umask(0o077)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.stdout = None
    os.close(1)
    os.close(2)
    time.sleep(0.01)


def state() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    print("still printing")
    return {
        "pid": os.getpid(),
        "directory": str(Path.cwd()),
        "umask": mask,
        "handlers": [
            str(signal.getsignal(each)).partition(" at ")[0]
            for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        ],
        "limit": resource.getrlimit(resource.RLIMIT_FSIZE),
        "files": [Path(f"/proc/self/fd/{each}").readlink() for each in (1, 2)],
    }


def test_what_a_body_changes_of_its_process_is_put_back_f30(owner: Owner, tmp_path: Path) -> None:
    before = owner.result(1, state)
    owner.invoke(2, spoil, dumps(str(tmp_path)))
    owner.until(lambda: owner.ended(2))
    assert owner.result(3, state) == before


def set_an_alarm() -> int:
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.01)  # so that all is looked at when it has ended
    return os.getpid()


def test_an_alarm_that_a_body_has_set_and_forgotten_ends_nobody_f30(owner: Owner) -> None:
    pid = owner.result(1, set_an_alarm)
    owner.result(2, sleep, dumps(0.1))
    assert owner.result(3, os.getpid) == pid


def test_after_a_body_has_set_its_own_handlers_the_next_one_can_be_interrupted_f30(
    owner: Owner, tmp_path: Path
) -> None:
    workers = set(owner.pool._peers)
    owner.result(1, spoil, dumps(str(tmp_path)))
    key = owner.invoke(2, sleep, dumps(1000))
    owner.pool.flush()
    wait_for(lambda: any(peer.stepping.number for peer in owner.pool._peers.values()))
    owner.pool.cancel(key)
    owner.until(lambda: owner.ended(2))
    assert set(owner.pool._peers) == workers


def fork_and_return() -> int:
    return os.fork()


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_exit() -> int:
    pid = os.fork()
    if pid == 0:
        print("child")
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_that_comes_back_from_a_body_ends_and_harms_nothing_f25(owner: Owner) -> None:
    pid = owner.result(1, fork_and_return)
    assert pid > 0
    assert (
        owner.result(4, status_of, dumps(pid)) == 70
    )  # it ended where it came back to the worker's loop
    assert not is_alive(pid)
    assert owner.result(2, fork_and_exit) == 5
    assert owner.result(3, double, dumps(4)) == 8
    assert owner.losses == {}


def leave_a_process() -> int:
    return subprocess.Popen(["sleep", "1000"]).pid


def leave_a_daemon() -> int:
    """What is started by a process that ends, in a session of its own."""
    program = "setsid sleep 2000 > /dev/null & echo $!"
    return int(subprocess.run(["sh", "-c", program], check=True, stdout=subprocess.PIPE).stdout)


def leave_a_process_and_die() -> None:
    subprocess.Popen(["sleep", "3000"])
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(1000,), name="writer").start()


@pytest.mark.parametrize("leave", [leave_a_process, leave_a_daemon])
def test_what_outlives_its_worker_is_killed_with_it_and_named_f26(
    owner: Owner, leave: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    child = owner.result(1, leave)
    owner.result(2, double, dumps(4))
    assert is_alive(child)
    owner.invoke(3, die_running, dumps("SIGKILL"))
    owner.until(lambda: owner.ended(3))
    assert not is_alive(child)
    (warning,) = caplog.messages
    told = (
        rf"worker \d+ .* was killed: pid {child} \(sleep .000\), started by node 'n1', run 0, attempt 0"
    )
    assert re.fullmatch(told, warning)


def test_what_is_left_by_a_body_that_dies_is_named_with_it_f26(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.invoke(1, leave_a_process_and_die)
    owner.until(lambda: owner.ended(1))
    assert "(sleep 3000), started by node 'n1', run 0, attempt 0" in caplog.text


def test_a_thread_that_outlives_its_body_is_named_f26(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.result(1, leave_a_thread)
    owner.result(2, double, dumps(4))
    (warning,) = caplog.messages
    assert warning == (
        "node 'n1', run 0, attempt 0: its body has ended, and threads that it started go on: 'writer'"
    )


def test_who_leaves_nothing_running_is_not_spoken_of_f26(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.result(1, run_and_wait)
    owner.invoke(2, die_running, dumps("SIGKILL"))
    owner.until(lambda: owner.ended(2))
    assert caplog.messages == []


def run_and_wait() -> int:
    with ThreadPoolExecutor() as threads:
        return threads.submit(subprocess.run, ["true"], check=True).result().returncode


# -- what sessions leave behind ----------------------------------------------------------------------


def test_directories_of_dead_sessions_are_swept_and_those_of_the_living_stay_f10(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {path.name.removeprefix("orchestrator-") for path in tmp_path.iterdir()}

    def left_by(name: str, namespace: int, pid: int, started: int) -> None:
        path = tmp_path / f"orchestrator-{name}"
        path.mkdir()
        (path / "owner").symlink_to(f"{namespace} {pid} {started}")

    living = make_directory(tmp_path)
    namespace, pid, started = map(int, str((living / "owner").readlink()).split())
    left_by("reused", namespace, pid, started + 1)
    left_by("dead", namespace, 2**31 - 1, 1)
    left_by("elsewhere", namespace + 1, 2**31 - 1, 1)
    (tmp_path / "orchestrator-of-something-else").mkdir()
    sweep(tmp_path)
    assert names() == {
        living.name.removeprefix("orchestrator-"),
        "elsewhere",
        "of-something-else",
    }


def test_a_directory_whose_maker_was_killed_before_its_note_is_swept_f10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "claim", _die)
    with pytest.raises(KeyboardInterrupt):
        make_directory(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_swept_before_its_note_makes_another_directory_f10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = leftovers.claim
    swept: list[Path] = []

    def claim(directory: Path) -> None:
        if not swept:
            sweep(tmp_path)
            swept.append(directory)
        real(directory)

    monkeypatch.setattr(leftovers, "claim", claim)
    made = make_directory(tmp_path)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [made]
    assert swept != [made]


def _die(_: Path) -> None:
    raise KeyboardInterrupt


def test_sigterm_ends_a_run_in_order_with_status_143_f11(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, time\n"
        "from orchestrator import Flow, node\n"
        "@node\n"
        "def wait():\n"
        "    try:\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(1000)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "with Flow() as flow:\n"
        "    flow.waiting = wait()\n"
        "flow.run(workers=1)\n"
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        assert process.stdout.read() == "cleaned up\n"
        assert process.wait() == 143


def test_a_pool_that_is_interrupted_while_it_starts_ends_its_processes_at_once_f11(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PoolMachine, "start", interrupted)
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt) as caught:
        Pool(1)
    # Not only when what was raised, and with it the pool, is forgotten.
    assert caught.value.__traceback__ is not None
    assert psutil.Process().children() == before
