"""Makes bodies of attempts: loads their code, makes arguments of their inputs, finds their instances.

All of that runs code of the user's, and so may fail in any way; whose fault it is depends on how far it
has come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executor.accumulation import accumulator
from executor.blueprint import BodyKind
from executor.body_task import BodyTask
from executor.code import LoadedCode, load_code
from executor.codec import Codec
from executor.instances import Instances
from executor.life_cycle import Body
from executor.resuming import BodyResume
from executor.states import StateError
from executor.surroundings import Surroundings, surroundings
from protocol.messages import AttemptKey, Digest, Fault

if TYPE_CHECKING:
    from executor.attempt import Attempt
    from executor.host import Invocation


@dataclass(frozen=True, slots=True)
class NotOpened:
    """Why an attempt has failed before its body could run."""

    fault: Fault
    error: BaseException


class Opener:
    """Opens the bodies of one hub; loads each code once."""

    def __init__(
        self,
        codec: Codec,
        instances: Instances,
        open_task: Callable[[BodyResume], BodyTask] | None,
        make_context: Callable[[AttemptKey], object] | None,
    ) -> None:
        self._codec = codec
        self._instances = instances
        self._open_task = open_task
        self._make_context = make_context
        self._codes: dict[Digest, LoadedCode] = {}

    def open(self, attempt: Attempt) -> Body | NotOpened:
        """The body on its arguments; the attempt has its code then, and what accumulates its chunks."""
        invocation = attempt.invocation
        fault = Fault.CODE
        try:
            code = attempt.code = self._load(invocation)
            fault = Fault.INPUT
            args, kwargs = attempt.arguments()
            fault = Fault.BODY  # a class's __init__ is the user's
            function = self._function(invocation, code)
        except BaseException as error:  # noqa: BLE001 - unpickling and __init__ run user code
            return NotOpened(Fault.STATE if isinstance(error, StateError) else fault, error)
        shape = code.shape
        if shape.kind is BodyKind.GENERATOR:
            attempt.accumulator = accumulator(code, function, is_read=invocation.final_is_read)
        body = Body.open(
            function,
            args,
            kwargs,
            shape.kind,
            is_async=shape.is_async,
            reads_streams=bool(attempt.ports),
        )
        around = Surroundings(invocation, code.body, self._codec.loads, self._make_context)
        body.context.run(surroundings.set, around)
        if shape.is_async and self._open_task is not None:
            attempt.task = around.task = self._open_task(BodyResume(attempt.hub, attempt))
        return body

    def forget_codes(self) -> None:
        """Load each code anew when it is next met."""
        self._codes.clear()

    def _load(self, invocation: Invocation) -> LoadedCode:
        code = self._codes.get(invocation.code.digest)
        if code is None:
            code = load_code(self._codec.loads(invocation.code.payload))
            self._codes[invocation.code.digest] = code
        return code

    def _function(self, invocation: Invocation, code: LoadedCode) -> Callable[..., Any]:
        if not code.shape.is_class:
            return code.body
        assert isinstance(code.body, type)
        call: Callable[..., Any] = self._instances.take(invocation, code.body).call
        return call
