"""Which variables from outside of a body the body uses, and how, read from its bytecode.

Theory of operation. Bytecode is there wherever the body came from, and reading it runs nothing. It is
read in order, without following jumps. What a body reaches through other functions, or through local
names for the same object, is not seen: this finds the plain cases, and invents none.
"""

from __future__ import annotations

import builtins
import dis
import enum
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias


class Change(enum.Enum):
    """What a body does to a variable, as a verb."""

    ASSIGNS = "assigns to"
    SETS_ATTRIBUTE = "sets an attribute of"
    SETS_ITEM = "sets an item of"


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""In place of the value of a variable that nothing is assigned to yet."""


@dataclass(frozen=True, slots=True)
class Use:
    """A variable from outside, used at a place.

    ``value`` is what it holds now. ``change`` is None where it is only read; ``attribute`` is what is
    looked up of it then, if anything, and ``further`` what is looked up of that.
    """

    name: str
    place: str
    value: object
    change: Change | None = None
    attribute: str | None = None
    further: str | None = None


_Find: TypeAlias = Callable[[dis.Instruction], object]
"""The value of the variable that an instruction names."""

_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})
_FREE: Final = frozenset(
    {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "STORE_DEREF", "DELETE_DEREF"}
)
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
# How many operands lie above the object whose item is set.
_ITEM_STORES: Final = {"STORE_SUBSCR": 1, "DELETE_SUBSCR": 1, "STORE_SLICE": 2}
_AUGMENTED_ITEM: Final = ("COPY", "COPY", "BINARY_SUBSCR")


def uses(body: Callable[..., object] | type) -> Iterator[Use]:
    """All uses in a function, or in the methods of a class, nested functions included."""
    for function in _functions(body):
        code = function.__code__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        yield from _uses(code, _finder(function, cells), frozenset(cells))


def _functions(body: object) -> Iterator[types.FunctionType]:
    if isinstance(body, types.FunctionType):
        yield body
    elif isinstance(body, type):
        for ancestor in body.__mro__:
            for member in vars(ancestor).values():
                function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
                if isinstance(function, types.FunctionType):
                    yield function


def _finder(function: types.FunctionType, cells: dict[str, types.CellType]) -> _Find:
    def find(instruction: dis.Instruction) -> object:
        name = instruction.argval
        if instruction.opname in _FREE:
            try:
                return cells[name].cell_contents
            except ValueError:  # nothing is assigned to it yet
                return UNKNOWN
        return function.__globals__.get(name, getattr(builtins, name, UNKNOWN))

    return find


def _uses(code: types.CodeType, find: _Find, captured: frozenset[str]) -> Iterator[Use]:
    instructions = list(dis.get_instructions(code))
    outside = {
        index
        for index, instruction in enumerate(instructions)
        if instruction.opname in _GLOBAL
        or (instruction.opname in _FREE and instruction.argval in captured)
    }
    altered = set(_items_set(instructions))
    for index in sorted(outside):
        instruction = instructions[index]
        place = f"{code.co_filename}:{_line(instruction)}"
        change, attribute, further = _how(instructions, index)
        if index in altered:
            change = Change.SETS_ITEM
        yield Use(instruction.argval, place, find(instruction), change, attribute, further)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # What it has free and the body has not is the body's own.
            yield from _uses(constant, find, captured & frozenset(constant.co_freevars))


def _line(instruction: dis.Instruction) -> int:
    return (instruction.positions.lineno if instruction.positions else None) or 0


def _how(
    instructions: Sequence[dis.Instruction], index: int
) -> tuple[Change | None, str | None, str | None]:
    """What is done to the variable that an instruction stores or loads, judged by what follows."""
    if not instructions[index].opname.startswith("LOAD"):
        return Change.ASSIGNS, None, None
    following = [instruction.opname for instruction in instructions[index + 1 : index + 3]]
    if following[0] in ("STORE_ATTR", "DELETE_ATTR") or following == ["COPY", "LOAD_ATTR"]:
        return Change.SETS_ATTRIBUTE, None, None
    if following[0] in _ATTRIBUTE:
        further = instructions[index + 2].argval if following[1] in _ATTRIBUTE else None
        return None, instructions[index + 1].argval, further
    return None, None, None


def _items_set(instructions: Sequence[dis.Instruction]) -> Iterator[int]:
    """By index, the instructions that load an object just for one of its items to be set."""
    for index, instruction in enumerate(instructions):
        name = instruction.opname
        above = _ITEM_STORES.get(name)
        if above is not None:
            loads = index
            for _ in range(above):
                loads = _before(instructions, loads)
            yield loads - 1
        elif tuple(i.opname for i in instructions[index : index + 3]) == _AUGMENTED_ITEM:
            yield _before(instructions, index) - 1


def _before(instructions: Sequence[dis.Instruction], index: int) -> int:
    """Where the expression begins whose value lies on top of the stack before an instruction."""
    depth = 0
    while depth < 1 and index > 0:
        index -= 1
        instruction = instructions[index]
        depth += dis.stack_effect(instruction.opcode, instruction.arg, jump=False)
    return index
