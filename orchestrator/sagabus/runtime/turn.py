"""One batch of a partition: what came in, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sagabus.core.commands import AnswerCommand
from sagabus.core.events import Event
from sagabus.core.instance import Answer, InstanceState
from sagabus.ports import Delivery, OutgoingTask
from sagabus.runtime.deciding import Changes
from sagabus.runtime.engine import LocalCommand
from sagabus.runtime.reading import Dead, Item


@dataclass(slots=True)
class Turn:
    """One batch on its way through the loop."""

    at: datetime
    deliveries: Sequence[Delivery]
    commands: Sequence[LocalCommand]
    changes: Changes = field(default_factory=Changes)
    states: list[InstanceState] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    #: What the owner itself asks of instances.
    own: list[tuple[str, Event]] = field(default_factory=list)
    #: Tasks that leave once more.
    resends: list[OutgoingTask] = field(default_factory=list)
    #: Answers that no instance stores.
    refusals: list[tuple[Item, Answer]] = field(default_factory=list)
    #: Who asked, by (instance, command id, ``OperatorRequest.asked``).
    asked: dict[tuple[str, str, str], list[Item]] = field(default_factory=dict)
    #: Where an event came from, by identity of the event.
    origins: dict[int, tuple[str, Item]] = field(default_factory=dict)
    #: Those events: one that is gone would leave its identity to the next.
    events: list[Event] = field(default_factory=list)

    def refuse(self, item: Item, code: str, message: str) -> None:
        """Answer a command that reaches no instance."""
        self.refusals.append((item, Answer(ok=False, code=code, message=message)))

    def note_asked(self, instance: str, command: str, asked: str, item: Item) -> None:
        """Remember who is to hear the answer to a command."""
        self.asked.setdefault((instance, command, asked), []).append(item)

    def note_origin(self, event: Event, instance: str, item: Item) -> None:
        """Remember the message behind an event, in case nobody can use it."""
        self.events.append(event)
        self.origins[id(event)] = (instance, item)

    def bury_ignored(self) -> None:
        """Messages that the machine can make no sense of are dead letters."""
        for event, ignored in self.changes.ignored:
            if not ignored.is_dead or id(event) not in self.origins:
                continue
            instance, item = self.origins[id(event)]
            if item.delivery is not None:
                self.dead.append(Dead(ignored.reason, item.source, instance, item.delivery))

    def answers(self) -> list[tuple[Item, Answer]]:
        """Every answer to a command, with who asked."""
        if not self.asked:
            return self.refusals
        stored = [
            (item, command.answer)
            for instance, command in self.changes.commands
            if isinstance(command, AnswerCommand)
            for item in self.asked.get((instance, command.command, command.answer.asked), ())
        ]
        return [*self.refusals, *stored]
