"""Flows on a coordinator in a process of its own, as a client meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from executor.errors import RemoteTraceback
from executor.output import Printed
from executor.surroundings import NodeInfo, current_context
from orchestrator.graph.draft import parameter
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.instruments import FlowInstrument
from orchestrator.runtime.errors import FlowTimeoutError
from orchestrator.service import link
from orchestrator.service.client import CoordinatorClient, connect
from orchestrator.service.errors import (
    ContextFactoryNotSent,
    CoordinatorLost,
    FlowCancelled,
    InstrumentNotSupported,
    NotOnWorkers,
    RequestRejected,
    VersionMismatch,
)
from orchestrator.service.server import serve
from protocol.client_messages import Accepted, CancelRun, Confirmed, RunStatus, Submit
from protocol.directory import InsecureTransport
from protocol.endpoints import EndpointInUse, NobodyListens
from protocol.messages import RunId
from tests.service.conftest import started


@pytest.fixture
def client(endpoint: str) -> Iterator[CoordinatorClient]:
    with connect(endpoint) as client:
        yield client


@node
def numbers(count: int):  # type: ignore[no-untyped-def]
    yield from range(count)


@node
def double(x: int) -> int:
    return 2 * x


@node
def add_up(xs: list[int]) -> int:
    return sum(xs)


@node
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@node
def make_large(size: int) -> bytes:
    return bytes(size)


@node
def fail(text: str) -> None:
    raise LookupError(text)


@node
class Counter:
    total = 0

    def call(self, step: int) -> int:
        self.total += step
        return self.total


@node
def talk() -> None:
    print("one line")
    print("and ", end="")
    print("two: \N{SNOWMAN}")
    print("a warning", file=sys.stderr)
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    sys.stdout.write("no newline")


@node
def slow_to_end(they_listen: str) -> None:
    while not Path(they_listen).exists():
        time.sleep(0.01)
    try:
        print("working")
        time.sleep(1000)
    finally:
        time.sleep(0.4)


@node
def print_much() -> None:
    time.sleep(0.5)  # until nobody follows it
    print("x" * 500_000)


@node
def talk_and_work(after: str = "/") -> None:
    until(Path(after).exists)
    print("working")
    time.sleep(100)


@node
def talk_after(_: object) -> None:
    print("awake")


@node
def ask_context() -> object:
    _, *rest = current_context()
    assert current_context() is current_context()
    return rest


def fail_to_make_context(_: NodeInfo) -> object:
    raise LookupError("no context")


@node(placement="inline")
def here() -> int:
    return 1


def doubled(count: int) -> Flow:
    with Flow() as f:
        f.source = numbers(parameter("count", count))
        f.result = add_up(double.map(f.source))
    return f


def sleeping(seconds: float) -> Flow:
    with Flow() as f:
        f.result = sleep(seconds)
    return f


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def status_of(client: CoordinatorClient, run: int) -> RunStatus:
    return next(each for each in client.status().runs if each.run == run)


def test_a_flow_runs_elsewhere_and_its_results_are_read_here(client: CoordinatorClient) -> None:
    f = doubled(20)
    report = client.run(f)
    assert f.result.get_data() == (380,)
    assert report.nodes["source"].chunks == 20
    assert client.run(f, parameters={"count": 3}).status == "done"
    assert f.result.get_data() == (6,)
    assert client.run(f, stop_at_node_generation={f.source: (0, 3)}).status == "limit"


def test_a_node_that_is_a_class_keeps_its_state_between_runs_here_and_there(
    client: CoordinatorClient,
) -> None:
    with Flow() as f:
        f.count = Counter(1)  # type: ignore[call-arg]  # the parameters of its call
    f.count.total = 10
    client.run(f)
    assert f.count.get_data() == (11,)
    client.run(f)
    assert f.count.total == 12
    f.run(workers=0)
    assert f.count.get_data() == (13,)
    client.submit(f).result()
    assert f.count.total == 14


def test_a_flow_whose_nodes_keep_state_runs_once_at_a_time(client: CoordinatorClient) -> None:
    with Flow() as f:
        f.count = Counter(1)  # type: ignore[call-arg]  # the parameters of its call
        f.sleep = sleep(100)
    handle = client.submit(f)
    with pytest.raises(RuntimeError, match="running already"):
        client.submit(f)
    handle.cancel()
    assert handle.wait()


def test_an_exception_of_a_node_is_raised_here_with_the_worker_s_traceback(
    client: CoordinatorClient,
) -> None:
    with Flow() as f:
        f.culprit = fail("missing")
    with pytest.raises(LookupError, match="missing") as caught:
        client.run(f)
    assert "culprit" in caught.value.__notes__[0]
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in caught.value.__cause__.text


def test_flows_of_several_clients_run_at_once_and_do_not_disturb_each_other(endpoint: str) -> None:
    with connect(endpoint) as one, connect(endpoint) as other:
        with Flow() as bad:
            bad.result = fail("one's own")  # the same name as a node of the others
        long, short = sleeping(0.3), doubled(50)
        slow, failing, quick = one.submit(long), other.submit(bad), other.submit(short)
        with pytest.raises(LookupError):
            failing.result()
        quick.result()
        assert not slow.is_over
        slow.result()
        assert (long.result.get_data(), short.result.get_data()) == ((0.3,), (2450,))
        assert len({slow.run, failing.run, quick.run}) == 3


def test_a_time_limit_is_the_flow_s_own(client: CoordinatorClient) -> None:
    with pytest.raises(FlowTimeoutError):
        client.run(sleeping(100), timeout_s=0.1)


def test_a_context_is_made_in_the_worker_by_a_factory_that_went_there(client: CoordinatorClient) -> None:
    here, limit = os.getpid(), 7

    def context(info: NodeInfo) -> object:
        lock = threading.Lock()  # nothing that could be sent
        return (lock, info.name, info.signature, limit, os.getpid() != here)

    with Flow() as f:
        f.first = ask_context()
        f.second = ask_context()
    client.run(f, context_factory=context)
    assert f.first.get_data() == (["first", "() -> 'object'", 7, True],)
    assert f.second.get_data() == (["second", "() -> 'object'", 7, True],)
    client.run(sleeping(0), context_factory=fail_to_make_context)  # nobody asks
    with pytest.raises(LookupError, match="no context"):
        client.run(f, context_factory=fail_to_make_context)
    with pytest.raises(RuntimeError, match="No context factory"):
        client.run(f)


def test_a_context_factory_that_does_not_pickle_is_refused(client: CoordinatorClient) -> None:
    lock = threading.Lock()
    with pytest.raises(ContextFactoryNotSent, match="lock"):
        client.run(sleeping(0), context_factory=lambda _: lock)


def test_an_instrument_would_hear_nothing_and_is_refused(
    endpoint: str, client: CoordinatorClient
) -> None:
    with pytest.raises(InstrumentNotSupported, match=rf"FlowInstrument .* {endpoint}"), FlowInstrument():
        client.submit(sleeping(0))


def test_a_detached_flow_is_followed_again_by_its_number(
    endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Flow() as f:
        f.wait = sleep(0.3)
        f.talk = talk_after(f.wait)
    with connect(endpoint) as leaving:
        run = leaving.submit(f, detach=True, label="long").run
    with connect(endpoint) as one, connect(endpoint) as other:
        handles = [one.handle(run), other.handle(run)]
        assert one.handle(run) is handles[0]
        assert {handle.label for handle in handles} == {"long"}
        reports = [handle.result() for handle in handles]
        assert [report.nodes["talk"].runs for report in reports] == [1, 1]
        assert {node.state for node in handles[1].progress.values()} == {"done"}
        assert capsys.readouterr().out == "awake\n" * 2
        assert one.handle(run).result() == reports[0]


def test_who_follows_a_flow_hears_its_error_and_may_cancel_it(endpoint: str) -> None:
    with Flow() as bad:
        bad.culprit = fail("missing")
    with connect(endpoint) as owner, connect(endpoint) as client:
        failed = owner.submit(bad).run
        with pytest.raises(LookupError, match="missing") as caught:
            client.handle(failed).result()
        assert "culprit" in caught.value.__notes__[0]
        running = owner.submit(sleeping(100))
        followed = client.handle(running.run)
        followed.cancel()
        for handle in (followed, running):
            with pytest.raises(FlowCancelled):
                handle.result()
        with pytest.raises(RequestRejected, match="there is no run 9999"):
            client.handle(9999)


def test_who_only_follows_a_flow_may_leave(endpoint: str) -> None:
    with connect(endpoint) as owner:
        handle = owner.submit(sleeping(0.3))
        with connect(endpoint) as client:
            client.handle(handle.run)
        assert handle.result().status == "done"


def test_waiting_may_be_bounded_and_goes_on(client: CoordinatorClient) -> None:
    handle = client.submit(sleeping(0.2))
    assert not handle.wait(0.01)
    with pytest.raises(TimeoutError, match="has not ended"):
        handle.result(0.01)
    assert handle.wait()


def test_a_flow_is_cancelled_by_its_own_client_and_by_another(endpoint: str) -> None:
    with connect(endpoint) as one, connect(endpoint) as other:
        first, second = one.submit(sleeping(100), label="x"), one.submit(sleeping(100))
        first.cancel()
        with pytest.raises(FlowCancelled, match=rf"run {first.run} \(x\) was cancelled"):
            first.result()
        other.cancel(second.run)
        with pytest.raises(FlowCancelled):
            second.result()
        with pytest.raises(RequestRejected, match="has ended: cancelled"):
            other.cancel(second.run)
        with pytest.raises(RequestRejected, match="there is no run 9999"):
            other.cancel(9999)


def test_ctrl_c_cancels_a_flow_that_is_waited_for_and_tears_nothing_that_is_being_heard(
    client: CoordinatorClient, tmp_path: Path
) -> None:
    we_listen = tmp_path / "we listen"
    with Flow() as f:
        f.talk = talk_and_work(str(we_listen))
    handle = client.submit(f)
    heard: list[str] = []

    def interrupt(printed: Printed) -> None:
        assert printed.node == "talk"
        heard.append(printed.data.decode())
        os.kill(os.getpid(), signal.SIGINT)
        heard.append("went on")

    handle.on_output = interrupt
    handle.on_cancel = lambda: heard.append("waiting")  # not for so short a time
    we_listen.touch()
    with pytest.raises(KeyboardInterrupt):
        handle.finish()
    assert heard == ["working\n", "went on"]
    assert handle.is_over
    assert status_of(client, handle.run).state == "cancelled"


def test_what_a_cancelled_flow_waits_for_is_told_if_that_takes_a_while(
    client: CoordinatorClient, tmp_path: Path
) -> None:
    with Flow() as f:
        f.slow = slow_to_end(str(tmp_path / "we listen"))
    handle = client.submit(f)
    told: list[str] = []
    handle.on_output = lambda _: os.kill(os.getpid(), signal.SIGINT)
    handle.on_cancel = lambda: told.append("waiting")
    (tmp_path / "we listen").touch()
    with pytest.raises(KeyboardInterrupt):
        handle.finish()
    assert told == ["waiting"]
    assert handle.is_over


def test_a_client_that_closes_leaves_only_what_it_detached(endpoint: str) -> None:
    with connect(endpoint) as leaving:
        left = leaving.submit(sleeping(100)).run
        detached = leaving.submit(sleeping(0.3), detach=True).run
    with connect(endpoint) as client:
        until(lambda: status_of(client, left).state == "cancelled")
        until(lambda: status_of(client, detached).state == "done")


def test_a_client_that_is_killed_has_its_flow_cancelled(endpoint: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from orchestrator import Flow, connect, node

            @node
            def sleep():
                time.sleep(100)

            with Flow() as f:
                f.sleep = sleep()
            handle = connect(sys.argv[1]).submit(f)
            print(handle.run, flush=True)
            handle.wait()
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script), endpoint], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run = int(process.stdout.readline())
    process.kill()
    process.communicate()
    with connect(endpoint) as client:
        until(lambda: status_of(client, run).state == "cancelled")


def test_a_module_beside_the_client_travels_along(
    client: CoordinatorClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The coordinator's workers cannot import it: they look where the coordinator does.
    (tmp_path / "helpers_of_mine.py").write_text(
        "from orchestrator import node\n\ndef three():\n    return 3\n\n"
        "@node\ndef triple(x):\n    return three() * x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import helpers_of_mine  # type: ignore[import-not-found]  # noqa: PLC0415

    with Flow() as f:
        f.result = helpers_of_mine.triple(4)
    client.run(f)
    assert f.result.get_data() == (12,)


def test_what_bodies_print_is_printed_here(
    client: CoordinatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with Flow() as f:
        f.talk = talk()
    client.run(f)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:2] == ["one line", "and two: \N{SNOWMAN}"]
    assert "from a thread" in printed.out
    assert "no newline" in printed.out
    assert printed.err == "a warning\n"


def test_what_bodies_print_comes_at_once_and_to_its_own_client_only(
    endpoint: str, client: CoordinatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with Flow() as f:
        f.talk = talk_and_work()
    with connect(endpoint) as other:
        quiet = other.submit(sleeping(0))
        handle = client.submit(f)
        quiet.result()
        printed = capsys.readouterr().out
        while printed != "working\n":
            client.pump()
            printed += capsys.readouterr().out
        handle.cancel()
        assert handle.wait()


def test_a_coordinator_whose_output_nobody_reads_serves_on(tmp_path: Path) -> None:
    """A pipe to a pager, or a terminal stopped by Ctrl-S: it is full after 64 KiB."""
    endpoint = f"ipc://{tmp_path}/unread/c"
    command = (sys.executable, "-m", "orchestrator", "coordinator", "--listen", endpoint, "-w", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as coordinator:
        try:
            assert coordinator.stderr is not None
            assert b"listening" in coordinator.stderr.readline()
            os.set_blocking(coordinator.stderr.fileno(), False)
            with suppress(OSError):  # full: what is logged from now on has no room
                full = os.open(f"/proc/{coordinator.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
                while os.write(full, bytes(4096)):
                    pass
            os.close(full)
            with Flow() as f:
                f.much = print_much()
            with connect(endpoint) as client:
                run = client.submit(f, detach=True).run
            with connect(endpoint) as client:
                while client.status().runs[-1].state != "done":
                    time.sleep(0.01)
                assert client.handle(run).result().status == "done"
                client.stop()
            assert coordinator.wait(10) == 0
        finally:
            coordinator.kill()


def test_inline_nodes_are_refused_before_anything_is_sent(client: CoordinatorClient) -> None:
    with Flow() as f:
        f.glue = here()
    with pytest.raises(NotOnWorkers, match=r"'glue' \(.*placement='inline'\)"):
        client.run(f)


def test_a_flow_that_does_not_decode_is_an_error_for_that_client_only(
    client: CoordinatorClient,
) -> None:
    handle = client.submit(sleeping(0.2))
    with pytest.raises(RequestRejected, match="the flow does not decode"):
        client._ask(Submit(99, "x", b"\xc1", {}, {}, None, None, True, {}, None, False), Accepted)
    handle.result()


def test_what_a_node_waits_for_is_told_by_number_or_label(client: CoordinatorClient) -> None:
    with Flow() as f:
        f.first = sleep(0.5)
        f.second = double(f.first)
    handle = client.submit(f, label="two")
    for flow in (str(handle.run), "two"):
        assert client.waits(flow, "second").sentences == ["'second' waits for a final value of 'first'"]
    assert client.waits("two", "first").sentences == []
    with pytest.raises(RequestRejected, match="has no node 'third'; it has first, second"):
        client.waits("two", "third")
    with pytest.raises(RequestRejected, match="no flow called three is running"):
        client.waits("three", "first")
    handle.result()
    assert {node.name: node.done for node in handle.progress.values()} == {"first": 1, "second": 1}


def test_another_version_is_refused_with_both_named(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SERVICE_VERSION", 99)
    with pytest.raises(VersionMismatch, match=r"protocol \d .* protocol 99"):
        connect(endpoint)


def test_a_second_coordinator_on_a_path_is_refused_with_who_holds_it(endpoint: str) -> None:
    with connect(endpoint) as client:
        pid = client.pid
    with pytest.raises(EndpointInUse, match=f"process {pid} listens"):
        serve(endpoint, 1, lambda *_: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_coordinator_that_is_told_to_end_as_it_begins_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        serve(f"ipc://{tmp_path}/own/c", 1, lambda *_: os.kill(os.getpid(), number))
    assert not list((tmp_path / "own").iterdir())


def test_what_is_asked_in_another_way_than_can_be_is_refused_here_and_now(
    client: CoordinatorClient,
) -> None:
    f = doubled(1)
    for wrong in ({"timeout_s": "9"}, {"label": 3}, {"parameters": [1]}, {"context_factory": 3}):
        with pytest.raises(TypeError):
            client.submit(f, **wrong)
    with pytest.raises(TypeError, match="a coordinator runs a Flow, not 3"):
        client.run(3)  # type: ignore[arg-type]  # as above
    for ask in (client.handle, client.cancel):
        with pytest.raises(TypeError):
            ask("1")  # type: ignore[arg-type]  # as above
    with pytest.raises(ValueError, match="above 0, not -1"):
        client.submit(f, timeout_s=-1)
    client.run(f)


def test_a_client_that_was_dismissed_or_closed_says_so_at_once_and_again(endpoint: str) -> None:
    client = connect(endpoint)
    with pytest.raises(CoordinatorLost, match=r"has ended the connection: .*Expected `int`"):
        client._ask(CancelRun(1, "x"), Confirmed)  # type: ignore[arg-type]  # as a defect of ours would
    with pytest.raises(CoordinatorLost, match="has ended the connection"):
        client.status()
    client.close()
    with pytest.raises(CoordinatorLost, match="this client was closed"):
        client.status()


def test_a_fork_cannot_use_a_client_and_does_it_no_harm(client: CoordinatorClient) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            with pytest.raises(RuntimeError, match="does not survive a fork"):
                client.status()
            client.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client.status().workers


ON_ANOTHER_SYSTEM = """
import os, socket, sys
sys.platform = "darwin"
for module in (os, socket):
    for name in dir(module):
        if name.startswith(("EFD_", "eventfd", "pidfd_", "memfd_", "SO_PEERCRED", "sched_")):
            delattr(module, name)
import orchestrator
from orchestrator.cli import main
for made in (lambda: orchestrator.connect("ipc:///x/c"), lambda: main(sys.argv[1:])):
    try:
        made()
    except orchestrator.FlowError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "command",
    [("coordinator", "--listen", "ipc:///x/c"), ("worker", "ipc:///x/c"), ("status", "ipc:///x/c")],
)
def test_another_system_than_linux_is_refused_in_a_sentence(command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_SYSTEM, *command], capture_output=True, text=True, check=False
    )
    sentence = "need Linux, and this is darwin; here flows run with workers=0"
    assert sentence in ended.stdout
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_tcp_is_refused() -> None:
    with pytest.raises(InsecureTransport, match="without keys"):
        connect("tcp://127.0.0.1:5555")


def test_a_client_that_ends_its_connection_is_gone_though_its_process_lives(endpoint: str) -> None:
    program = f"""
import sys, time
from orchestrator import Flow, connect, node
@node
def work():
    time.sleep(1000)
with Flow() as flow:
    flow.work = work()
client = connect({endpoint!r})
print(client.submit(flow).run, flush=True)
client._link._connection.close(0)
sys.stdin.read()
"""
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        number = RunId(int(process.stdout.readline()))
        with connect(endpoint) as client:
            until(lambda: {run.run: run.state for run in client.status().runs}[number] == "cancelled")
        assert process.poll() is None
        process.kill()


def test_a_coordinator_that_dies_is_noticed_and_its_path_can_be_taken_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    arguments = ("coordinator", "--listen", endpoint, "--workers", "1")
    with started(*arguments, until="listening") as process, connect(endpoint) as client:
        with Flow() as f:
            f.count = Counter(1)  # type: ignore[call-arg]  # the parameters of its call
            f.sleep = sleep(parameter("seconds", 0))
        handle = client.submit(f, parameters={"seconds": 100})
        process.send_signal(signal.SIGKILL)
        with pytest.raises(CoordinatorLost, match=f"pid {process.pid}\\) has ended"):
            handle.wait()
        f.run(workers=0)  # it is free again
        assert f.count.get_data() == (1,)
    with pytest.raises(NobodyListens, match="has ended"):
        connect(endpoint)
    with started(*arguments, until="listening"), connect(endpoint) as client:
        client.stop()
        client.wait_ended()
    assert not list((tmp_path / "own").iterdir())


def test_what_a_coordinator_said_last_is_heard_though_it_has_ended(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    arguments = ("coordinator", "--listen", endpoint, "-w", "1")
    with started(*arguments, until="listening") as process, connect(endpoint) as client:
        f = sleeping(0.1)
        handle = client.submit(f)
        client.drain()
        assert process.wait(10) == 0
        handle.result()  # nothing was read since
        assert f.result.get_data() == (0.1,)
        with pytest.raises(CoordinatorLost, match="has ended"):
            client.status()


def test_a_result_that_is_long_on_its_way_arrives_though_the_coordinator_ends(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    with started("coordinator", "--listen", endpoint, "-w", "1", until="listening") as process:
        with connect(endpoint) as client:
            with Flow() as f:
                f.large = make_large(50 << 20)
            handle = client.submit(f)
            client.drain()
            handle.result()
            assert len(f.large.get_data()[0]) == 50 << 20
        assert process.wait(10) == 0


def test_draining_ends_the_coordinator_when_its_last_flow_has_ended(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    with started("coordinator", "--listen", endpoint, "-w", "1", until="listening") as process:
        with connect(endpoint) as client:
            f = sleeping(0.2)
            handle = client.submit(f)
            client.drain()
            with pytest.raises(RequestRejected, match="takes no more flows"):
                client.submit(sleeping(0))
            handle.result()
            assert f.result.get_data() == (0.2,)
        assert process.wait(10) == 0
