"""Groups: functions that write several nodes at once, each time with names of their own (SEMANTICS 17).

Theory of operation. Calling a group is an *expansion*: while the group's function runs, the nodes it
makes belong to the expansion, and its first argument, the *view*, is their name space. When the
function has returned, the view's names are replaced by what they stand for, and the nodes go to
whoever surrounds the expansion: the flow, or another group. So nothing is left of a group at run time
but the names of its nodes, and of an expansion that fails nothing at all.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, Generic, ParamSpec

from orchestrator.errors import FlowDefinitionError
from orchestrator.graph.draft import (
    DraftNode,
    NodeRecord,
    OutputRef,
    Placeholder,
    Scope,
    attach,
    current_scope,
    record_of,
)
from orchestrator.graph.names import Names
from orchestrator.graph.place import caller_place, definition_place
from orchestrator.graph.template import NodeOptions, NodeTemplate

P = ParamSpec("P")

_NOT_PLAIN: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class GroupTemplate(Generic[P]):
    """A function that writes nodes; each call of it writes them anew."""

    __wrapped__: Callable[..., object]
    __name__: str

    def __init__(self, function: Callable[..., object], place: str) -> None:
        self.name = str(getattr(function, "__name__", "group"))
        self.place = definition_place(function) or place
        self._signature = _signature(function, f"@node.template {self.name} at {self.place}")
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Write the group's nodes; what its function returns stands for it.

        Raises:
            TypeError: the arguments do not fit, or the function returns no node.
            FlowDefinitionError: a name of its view stands for nothing.
            Exception: what the function raised; none of its nodes are in the flow then.
        """
        place = caller_place()
        where = f"group {self.name!r} at {place}"
        expansion = Expansion(self.name, where)
        view = GroupView(expansion)
        try:
            self._signature.bind(view, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{where}: {error}") from None
        token = current_scope.set(expansion)
        try:
            result = _as_node(self.__wrapped__(view, *args, **kwargs), where, place)
        except Exception as error:
            if not getattr(error, "__notes__", None):
                error.add_note(f"(raised while {where} was expanded)")
            raise
        finally:
            current_scope.reset(token)
        return expansion.close(view, result, current_scope.get())

    def __repr__(self) -> str:
        return f"<group {self.name} ({self.place})>"


def template(function: Callable[Concatenate[Any, P], object], /) -> GroupTemplate[P]:
    """Make a group of a function ``(view, *args) -> node``.

    Calling the group runs the function, there and then: the nodes it makes are part of the flow, and
    the node it returns stands for the group, with all its outputs. ``view`` is the group's own name
    space. Its attributes name nodes as those of a flow do, and may be read before they are defined;
    what they are called elsewhere does not matter to them, nor they to others. In reports a node of the
    group is called ``"<group>#<number of the call>.<name>"``.

    ::

        @node.template
        def smooth(view, value, factor=0.5):
            view.mean = mix(value, view.mean, factor)  # reads its own past
            return view.mean

    Raises:
        TypeError: it is not a plain function, or has no parameter for the view.
    """
    return GroupTemplate(function, caller_place())


class GroupView:
    """The names of a group while it is written. Those that begin with ``_`` are ordinary attributes."""

    def __init__(self, expansion: Expansion) -> None:
        self._expansion = expansion

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._expansion.check_open(name)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that nothing was assigned to.
        if name.startswith("_"):
            raise AttributeError(f"this group has no attribute {name!r}")
        return self._expansion.placeholder(name, caller_place())


class Expansion:
    """One call of a group: the nodes that were made in it, and what names they have there.

    ``around`` is the expansion that this one is part of, if any. ``records`` are its nodes, with those
    of the expansions in it, until they are handed on.
    """

    __slots__ = ("_called", "_is_open", "_placeholders", "around", "name", "records")

    def __init__(self, name: str, called: str) -> None:
        self.name = name
        self.around: Expansion | None = None
        self.records: list[NodeRecord] = []
        self._called = called
        self._placeholders: list[Placeholder] = []
        self._is_open = True

    @property
    def outermost(self) -> Expansion:
        expansion = self
        while expansion.around is not None:
            expansion = expansion.around
        return expansion

    def adopt(self, record: NodeRecord) -> None:
        if record.group is None:
            record.group = self
        self.records.append(record)

    def placeholder(self, name: str, place: str) -> Placeholder:
        self.check_open(name)
        placeholder = Placeholder(self, name, place)
        self._placeholders.append(placeholder)
        return placeholder

    def check_open(self, name: str) -> None:
        if not self._is_open:
            raise AttributeError(f"{self._called} is complete, and has no node {name!r}")

    def close(self, view: GroupView, result: object, around: Scope | None) -> object:
        """Replace the names by what they stand for, and hand the nodes on; returns the result.

        Raises:
            FlowDefinitionError: names stand for nothing; no node was handed on.
        """
        self._is_open = False
        held = {name: value for name, value in vars(view).items() if name[0] != "_"}
        self._name_nodes(held)
        names = Names(self, held, self._called)
        for record in self.records:
            record.inputs = [names.resolve(argument, record) for argument in record.inputs]
        result = names.resolve(result, None)
        names.check(self._placeholders)
        if names.problems:
            raise FlowDefinitionError(tuple(names.problems))
        self.around = around if isinstance(around, Expansion) else None
        if around is not None:
            for record in self.records:
                # The function may have given a node to a flow by itself.
                if record.owner is None:
                    around.adopt(record)
            self.records = []
        self._placeholders = []
        return result

    def _name_nodes(self, held: Mapping[str, object]) -> None:
        """A node that several names hold is called by the first, of the outermost group."""
        own = set(self.records)
        for name, value in reversed(list(held.items())):
            if isinstance(value, DraftNode) and record_of(value) in own:
                record_of(value).group = self
                record_of(value).local_name = name


def _signature(function: object, where: str) -> inspect.Signature:
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{where}: a group is made of a function, not of {function!r}")
    if function.__code__.co_flags & _NOT_PLAIN:
        raise TypeError(f"{where}: a group only writes nodes, so it is a plain 'def' that returns one")
    signature = inspect.signature(function)
    try:
        signature.bind_partial(None)
    except TypeError:
        raise TypeError(
            f"{where}: its first parameter must be the view: def {function.__name__}(view, ...)"
        ) from None
    return signature


def _as_node(result: object, where: str, place: str) -> object:
    """What stands for the group: the node that was returned, or one that yields the constant."""
    if isinstance(result, DraftNode | OutputRef | Placeholder):
        return result
    if result is None:
        raise TypeError(f"{where} returned nothing; it must return the node that stands for it")
    if isinstance(result, NodeTemplate | GroupTemplate):
        raise TypeError(f"{where} returned {result!r} itself; call it to make a node")
    if isinstance(result, tuple | list | dict):
        within = result.values() if isinstance(result, dict) else result
        if any(isinstance(part, DraftNode | OutputRef | Placeholder) for part in within):
            raise TypeError(
                f"{where} returned several nodes in a {type(result).__name__}, but one stands for it; "
                "join them in a node with multiple_outputs=True"
            )
    return attach(NodeRecord(_CONSTANT, [result], place))


def constant(value: object) -> object:
    return value


_CONSTANT: Final = NodeTemplate(
    constant, NodeOptions(placement="inline"), "constant", "orchestrator/graph/groups.py"
)
