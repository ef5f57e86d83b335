"""The functions that do the work, found by kind and action, called with what they ask for."""

import asyncio
import contextvars
import functools
import inspect
import threading
import typing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from sagabus_agents.errors import BadInputError, PermanentError
from sagabus_agents.task import Task
from sagabus_agents.wire import TaskType

HandlerFunction = Callable[..., Any]


class NoHandlerError(PermanentError):
    """Nothing is registered for the action."""

    default_type = "no_handler"


@dataclass(frozen=True, slots=True)
class Handler:
    """One registered function and what it wants to be called with."""

    function: HandlerFunction
    is_async: bool
    #: In the order of the signature: the parameter, and what it receives.
    parameters: tuple[tuple[inspect.Parameter, Literal["task", "input"]], ...]
    #: Validates the input; None passes it as it is.
    input_type: TypeAdapter[Any] | None

    def bind(self, task: Task) -> Callable[[], Any]:
        """The call, ready to be made.

        Raises:
            BadInputError: the input does not fit the annotated type.
        """
        value = task.input
        if self.input_type is not None:
            value = validated(self.input_type, value)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter, source in self.parameters:
            argument = task if source == "task" else value
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                named[parameter.name] = argument
            else:
                positional.append(argument)
        return functools.partial(self.function, *positional, **named)


class Handlers:
    """Handlers by kind (``TaskType``) and action; an action of None catches the rest."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[TaskType, str | None], Handler] = {}

    def add(self, kind: TaskType, action: str | None, function: HandlerFunction) -> None:
        """Register ``function``.

        Raises:
            ValueError: the action already has a handler.
            TypeError: the function cannot be called with a task and its input.
        """
        if (kind, action) in self._handlers:
            raise ValueError(f"there is already a {kind.value} handler for {action or 'the rest'}")
        self._handlers[kind, action] = inspect_handler(function)

    def actions(self, kind: TaskType) -> list[str | None]:
        """The actions that have a handler of ``kind``."""
        return [action for each, action in self._handlers if each is kind]

    def find(self, kind: TaskType, action: str) -> Handler:
        """The handler of ``action``, else the catch-all.

        Raises:
            NoHandlerError: there is neither.
        """
        handler = self._handlers.get((kind, action)) or self._handlers.get((kind, None))
        if handler is None:
            raise NoHandlerError(f"this agent has no {kind.value} handler for {action!r}")
        return handler


def inspect_handler(function: HandlerFunction) -> Handler:
    """Find out what ``function`` wants: the task, its input, both or neither.

    A parameter annotated with ``Task`` gets the task, one annotated with anything else the
    validated input; without annotations the first is the task, the second the raw input.
    """
    hints = typing.get_type_hints(_annotated(function), include_extras=True)
    parameters: list[tuple[inspect.Parameter, Literal["task", "input"]]] = []
    input_type: TypeAdapter[Any] | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hints.get(parameter.name, Any)
        taken = {source for _, source in parameters}
        source: Literal["task", "input"] = "input"
        if hint is Task or (hint is Any and "task" not in taken):
            source = "task"
        if source in taken:
            if parameter.default is parameter.empty:
                raise TypeError(f"{_name(function)}: a handler takes a task and its input")
            continue
        if source == "input" and hint is not Any:
            input_type = TypeAdapter(hint)
        parameters.append((parameter, source))
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
    return Handler(function, is_async, tuple(parameters), input_type)


def _annotated(function: HandlerFunction) -> Any:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inner if inspect.isroutine(inner) else type(inner).__call__


def _name(function: HandlerFunction) -> str:
    return getattr(function, "__qualname__", repr(function))


def validated(adapter: TypeAdapter[Any], value: Any) -> Any:
    """``value`` as the adapter's type.

    Raises:
        BadInputError: it does not fit; the message names every place.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'input'}: {item['msg']}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise BadInputError(places) from error


async def call_in_thread(call: Callable[[], Any]) -> Any:
    """Run a sync handler in a thread of its own; its context variables are the caller's.

    A daemon thread: an executor's would hold up the end of the process for as long as a handler
    hangs. The number of threads is bounded by the slots of the agent.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, error))

    def work() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(call)
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended before the handler
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=work, name="sagabus-handler", daemon=True).start()
    value, failure = await future
    if failure is not None:
        raise failure
    return await value if inspect.isawaitable(value) else value


def plain(value: Any) -> Any:
    """How a value that JSON does not know is written: pydantic models by their own rules.

    Raises:
        TypeError: anything else.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")
