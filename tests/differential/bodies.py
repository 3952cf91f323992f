"""Real bodies for described nodes, and the flow they make up."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

from executor.body import SKIP, Stream, StreamCancelled
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node as make_template
from orchestrator.graph.template import NodeTemplate
from orchestrator.spec import Placement
from tests.differential.description import UNREAD, Graph, Node, Script
from tests.differential.scripts import CANCELLED, END, map_element, new_state, perform
from tests.reference import join

PORTS = ("a", "b", "c")


def flow_of(graph: Graph, *, window: int | None, placements: Sequence[Placement] = ("process",)) -> Flow:
    """The flow that a graph describes; nodes take the placements in turn."""
    flow = Flow()
    with flow:
        for node in graph.nodes:
            placement = placements[node.number % len(placements)]
            template = _template(node, window, placement)
            sources = [_source(flow, graph, port.producer, port.output) for port in node.ports]
            if node.kind == "map":
                beside = sources[1:] or [UNREAD]
                how = (node.name, node.script.skips)
                made = template.map(sources[0], how, *beside, ahead=1 + node.number % 3)
            else:
                made = template(tuple(node.script), **dict(zip(PORTS, sources, strict=False)))
            setattr(flow, node.name, made)
    return flow


def _source(flow: Flow, graph: Graph, producer: int, output: int) -> Any:
    drafted = getattr(flow, graph.nodes[producer].name)
    return drafted.output(output) if output else drafted


def _template(node: Node, window: int | None, placement: Placement) -> NodeTemplate[..., Any]:
    how = {"sum": None, "list": list, "join": join}[node.accumulate]
    defaults = tuple(port.has_default for port in node.ports)
    if node.kind == "map":
        defaults = defaults[1:]
        key = ("map", node.is_async, False, (*defaults, True)[:1])
        return _cached_template(key, (), False, window, placement, None, True, None)
    key = (node.kind, node.is_async, node.is_class, (*defaults, True, True, True)[:3])
    streams = tuple(name for name, port in zip(PORTS, node.ports, strict=False) if port.is_stream)
    on_skip = "default" if node.takes_default else None
    multiple = node.script.outputs > 1
    return _cached_template(key, streams, multiple, window, placement, how, node.drains, on_skip)


@cache
def _cached_template(
    key: tuple[str, bool, bool, tuple[bool, ...]],
    streams: tuple[str, ...],
    multiple: bool,
    window: int | None,
    placement: Placement,
    accumulate: Any,
    drain: bool,
    on_skip: Any,
) -> NodeTemplate[..., Any]:
    return make_template(
        stream_in=streams,
        multiple_outputs=multiple,
        window=window,
        placement=placement,
        accumulate=accumulate,
        drain=drain,
        **({} if on_skip is None else {"on_skip": on_skip}),
    )(BODIES[key])


# -- bodies: they do what ``perform`` says ---------------------------------------------------------


def mono(script: Any, *, a: Any, b: Any, c: Any) -> Any:
    return _Performance(script, (a, b, c), new_state()).advance().end()


async def async_mono(script: Any, *, a: Any, b: Any, c: Any) -> Any:
    return (await _Performance(script, (a, b, c), new_state()).advance_async()).end()


def stream(script: Any, *, a: Any, b: Any, c: Any) -> Any:
    run = _Performance(script, (a, b, c), new_state())
    while run.advance().emits:
        try:
            yield run.value
        except StreamCancelled as cancel:
            run.hear(cancel)
    return run.end()


async def async_stream(script: Any, *, a: Any, b: Any, c: Any) -> Any:
    run = _Performance(script, (a, b, c), new_state())
    while (await run.advance_async()).emits:
        try:
            yield run.value
        except StreamCancelled as cancel:
            run.hear(cancel)
    run.end()


class MonoKeeper:
    state: dict[str, int]

    def call(self, script: Any, *, a: Any, b: Any, c: Any) -> Any:
        return _Performance(script, (a, b, c), self.state).advance().end()


class AsyncMonoKeeper:
    state: dict[str, int]

    async def call(self, script: Any, *, a: Any, b: Any, c: Any) -> Any:
        return (await _Performance(script, (a, b, c), self.state).advance_async()).end()


class StreamKeeper:
    state: dict[str, int]

    def call(self, script: Any, *, a: Any, b: Any, c: Any) -> Any:
        run = _Performance(script, (a, b, c), self.state)
        while run.advance().emits:
            try:
                yield run.value
            except StreamCancelled as cancel:
                run.hear(cancel)
        return run.end()


class AsyncStreamKeeper:
    state: dict[str, int]

    async def call(self, script: Any, *, a: Any, b: Any, c: Any) -> Any:
        run = _Performance(script, (a, b, c), self.state)
        while (await run.advance_async()).emits:
            try:
                yield run.value
            except StreamCancelled as cancel:
                run.hear(cancel)
        run.end()


def mapped(element: Any, how: tuple[str, bool], beside: Any) -> Any:
    return map_element(*how, element, beside) or SKIP


async def async_mapped(element: Any, how: tuple[str, bool], beside: Any) -> Any:
    return map_element(*how, element, beside) or SKIP


class _Performance:
    """One run of a script on real streams."""

    def __init__(self, script: Any, inputs: tuple[Any, ...], state: dict[str, int]) -> None:
        self._inputs = inputs
        given = tuple(None if isinstance(each, Stream) else each for each in inputs)
        self._steps = perform(Script(*script), given, state)
        self._action: tuple[Any, ...] = ()
        self._answer: Any = None
        self._thrown: StreamCancelled | None = None

    @property
    def emits(self) -> bool:
        return bool(self._action[0] == "emit")

    @property
    def value(self) -> Any:
        return self._action[1]

    def hear(self, cancel: StreamCancelled) -> None:
        self._thrown, self._answer = cancel, CANCELLED

    def advance(self) -> _Performance:
        """Go on to the next chunk or the end."""
        while (source := self._next()) is not None:
            chunk = next(((chunk,) for chunk in source), None)
            self._answer = END if chunk is None else ("chunk", *chunk)
        return self

    async def advance_async(self) -> _Performance:
        while (source := self._next()) is not None:
            self._answer = END
            async for chunk in source:
                self._answer = ("chunk", chunk)
                break
        return self

    def _next(self) -> Any:
        """The stream that the next action reads, or None if the next action is no read."""
        while True:
            self._action, self._answer = self._steps.send(self._answer), None
            if self._action[0] not in ("take", "cancel"):
                return None
            source = self._inputs[self._action[1]]
            if not isinstance(source, Stream):
                self._answer = END
            elif self._action[0] == "cancel":
                source.cancel()
            else:
                return source

    def end(self) -> Any:
        how, *given = self._action
        if how == "reraise":
            assert self._thrown is not None
            raise self._thrown
        if how == "skip":
            how, given = given[0], [SKIP]
        if how == "raise":
            raise StopAsyncIteration(*given)
        return given[0] if given else None


# -- their variants: which ports have defaults -----------------------------------------------------


def _with_defaults(
    function: Callable[..., Any], name: str, defaults: tuple[bool, ...]
) -> types.FunctionType:
    """A copy of a function in which these ports, and no others, have defaults."""
    assert isinstance(function, types.FunctionType)
    made = types.FunctionType(function.__code__, function.__globals__, name)
    made.__qualname__ = name
    if len(defaults) == 1:
        made.__defaults__ = (UNREAD,) if defaults[0] else None
    else:
        made.__kwdefaults__ = {port: UNREAD for port, has in zip(PORTS, defaults, strict=True) if has}
    return made


def _variants() -> dict[tuple[str, bool, bool, tuple[bool, ...]], Any]:
    """Every body by kind, asynchronous or not, class or not, and defaults.

    They are names of this module, so that workers that can import it need no copy.
    """
    found: dict[tuple[str, bool, bool, tuple[bool, ...]], Any] = {}
    originals: dict[tuple[str, bool, bool], Any] = {
        ("mono", False, False): mono,
        ("mono", True, False): async_mono,
        ("stream", False, False): stream,
        ("stream", True, False): async_stream,
        ("mono", False, True): MonoKeeper,
        ("mono", True, True): AsyncMonoKeeper,
        ("stream", False, True): StreamKeeper,
        ("stream", True, True): AsyncStreamKeeper,
        ("map", False, False): mapped,
        ("map", True, False): async_mapped,
    }
    for key, original in originals.items():
        for defaults in product((False, True), repeat=1 if key[0] == "map" else len(PORTS)):
            suffix = "".join(str(int(has)) for has in defaults)
            name = f"{original.__name__}_{suffix}"
            made: Any
            if isinstance(original, type):
                call = _with_defaults(original.call, "call", defaults)  # type: ignore[attr-defined]
                made = type(
                    name, (original,), {"call": call, "state": new_state(), "__module__": __name__}
                )
            else:
                made = _with_defaults(original, name, defaults)
            globals()[name] = found[*key, defaults] = made
    return found


BODIES = _variants()
