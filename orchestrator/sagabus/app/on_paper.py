"""Commands decided on paper: what one would be answered now, and nothing is stored or sent."""

from collections.abc import Iterable, Sequence
from typing import Any

from sagabus.core.commands import AnswerCommand
from sagabus.core.definition import TemplateError
from sagabus.core.events import Event, RetryRequested
from sagabus.core.instance import Answer, Instance
from sagabus.core.kv import MAX_ASKED, Closed, UnknownKeyError, known_keys
from sagabus.core.machine import decide
from sagabus.errors import BadMessageError, ConfigError, InvariantError, RequestError
from sagabus.runtime.engine import Engine
from sagabus.runtime.reading import Item, event_of
from sagabus.runtime.repairing import retry_event
from sagabus_agents.wire import COMMAND_SOURCE, CommandMessage


class OnPaper:
    """Answers commands as the machine would, of instances as they are stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def submit(self, instance: str, message: CommandMessage) -> Answer:
        """What the command would be answered."""
        try:
            return await self._answer(instance, message)
        except BadMessageError as error:
            return Answer(ok=False, code="invalid_request", message=error.reason)
        except (ConfigError, InvariantError, RequestError, TemplateError) as error:
            code = error.code if isinstance(error, RequestError) else "internal"
            return Answer(ok=False, code=code, message=str(error))

    async def _answer(self, instance: str, message: CommandMessage) -> Answer:
        known: dict[str, Any] = {}
        for asked in range(MAX_ASKED + 1):
            # Read anew each time: deciding changes it.
            state = await self._engine.store.load_instance(instance)
            if state is None:
                missing = f"there is no instance {instance!r}"
                return Answer(ok=False, code="instance_not_found", message=missing)
            definition = await self._engine.snapshots.of(state.row.digest)
            event = await self._event(state.row, message)
            if not asked:
                await self._look_up(known, [*definition.kv_keys, *_brought_keys(event)])
            try:
                kv = Closed(known) if asked == MAX_ASKED else known
                commands = decide(definition, state, event, kv).commands
            except UnknownKeyError as unknown:
                await self._look_up(known, [unknown.key])
            else:
                return next(each.answer for each in commands if isinstance(each, AnswerCommand))
        raise InvariantError("a decision asked on where nothing more is looked up")

    async def _event(self, row: Instance, message: CommandMessage) -> Event:
        at = self._engine.clock()
        if message.name == "retry":
            return await retry_event(message, row, self._engine.snapshots, at)
        return event_of(self._engine, row.id, Item(message, COMMAND_SOURCE), at)

    async def _look_up(self, known: dict[str, Any], keys: Sequence[str]) -> None:
        if keys:
            known |= known_keys(keys, await self._engine.kv.get_many(keys))


def _brought_keys(event: Event) -> Iterable[str]:
    if isinstance(event, RetryRequested) and event.definition is not None:
        return event.definition.kv_keys
    return ()
