"""One family from its start to its end: its instances, those who own them, and people.

What is lost and late between the instances is in ``family_owner``, what they promise in
``family_judgement``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from zlib import crc32

from sagabus.adapters.memory_store import MemoryStore
from sagabus.core.events import (
    CancelRequested,
    CompensateRequested,
    Event,
    InquiryAnswered,
    IntentResolved,
    PauseRequested,
    ResumeRequested,
    StartRequested,
)
from sagabus.core.instance import Instance, InstanceState, InstanceStatus
from sagabus.core.transition import Decision, Ignored
from tests.unit.core.agents import Agents, Message
from tests.unit.core.clock import BASE, Clock
from tests.unit.core.family_judgement import Witness
from tests.unit.core.family_owner import TOP, Entry, Neighbourly, Owner
from tests.unit.core.random_families import random_family
from tests.unit.core.turn import Parked
from tests.unit.core.world import at_once

ASK_AGAIN_S = 5.0
#: By then the last word of a person has been answered, however often it was lost.
RESOLVE_AGAIN_S = 60.0
ENDS = {"WorkflowCompleted", "WorkflowSettled", "WorkflowCancelled"}
#: Who has put workflows on hold.
HOLDER = "holder"
#: How often at most a person has what is left undone.
MOST_REPAIRS = 2


class FamilyWorld:
    """A family from its start to its end."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.rng = self.clock.rng
        self.clock.faults = self.rng.choice((0, 5, 10, 20))
        self.definitions = random_family(self.rng)
        self.store = MemoryStore()
        self.agents: dict[str, Agents] = {}
        #: Where instances stand in the family, in the order in which they began.
        self.places: dict[str, str] = {}
        self.answers: dict[tuple[str, str], Any] = {}
        self.trace: list[tuple[float, str, Event | Parked, Any, InstanceStatus]] = []
        self.witness = Witness(self.definitions, self.peek, is_lossless=not self.clock.faults)
        self.owners = [Owner(self, number) for number in range(self.rng.choice((1, 2, 3)))]
        self._refuse_percent = self.rng.choice((0, 0, 0, 4))
        self._hold_percent = 30 if seed % 4 == 3 else 0
        self._names = Counter[str]()

    def play(self) -> Counter[str]:
        """Run it to its end and judge the end; gives what was seen."""
        for owner in self.owners:
            owner.come_up()
        self._ask(TOP, "start", StartRequested)
        rng, later = self.rng, self.clock.later
        if rng.random() < 0.2:
            later(rng.random() ** 2 * 60, self._cancel, TOP)
        if rng.random() < 0.2:
            later(rng.random() ** 2 * 60, self._somewhere, self._cancel)
        for _ in range(rng.choice((0, 1, 1, 2))):
            later(rng.random() ** 2 * 60, self._somewhere, self._pause)
        if rng.random() < 0.03:
            later(rng.random() * 20, self._somewhere, self._park)
        self.clock.run()
        states = [self.stored(instance) for instance in self.places]
        return self.witness.judge([state for state in states if state is not None], self.agents)

    # --- the family ---------------------------------------------------------------------------

    def owner_of(self, instance: str) -> Owner:
        return self.owners[crc32(instance.encode()) % len(self.owners)]

    def stored(self, instance: str) -> InstanceState | None:
        return at_once(self.store.load_instance(instance))

    def hear(self, entry: Entry) -> None:
        """What is said to an instance stands in the inbox of its owner."""
        self.owner_of(entry[0]).arrive(entry)

    def peek(self, instance: str) -> InstanceState | None:
        """An instance as its owner knows it, else as it is stored."""
        return self.owner_of(instance).known(instance) or self.stored(instance)

    def definition_of(self, state: InstanceState):
        return self.definitions[state.row.digest]

    def is_refused(self, instance: str) -> bool:
        """Whether the parameters do not fit: always the same of the same child."""
        return crc32(f"{self.seed}{instance}".encode()) % 100 < self._refuse_percent

    def hold(self, instance: str, at: datetime) -> PauseRequested | None:
        """Whether its workflow is on hold when it begins anew: always the same of the same one."""
        if crc32(f"{self.seed}{instance} held".encode()) % 100 >= self._hold_percent:
            return None
        return PauseRequested(at, f"hold-{instance}", by=HOLDER, is_of_workflow=True)

    def never(self, *_: object) -> bool:
        return False

    def meet(self, row: Instance) -> None:
        """There is a new instance; after a death it may be new again."""
        if row.id in self.places:
            return
        parent = row.parent
        above = "" if parent is None else f"{self.places[parent.instance]}/"
        name = row.workflow if parent is None else f"{parent.task}#{parent.attempt}:{row.workflow}"
        self.places[row.id] = above + name
        send = partial(self._send, row.id)
        self.agents[row.id] = Agents(self.clock, self.definition_of(InstanceState(row)), send)

    def _send(self, instance: str, message: Message, on_stored: Callable[[], None] | None) -> None:
        delay_s = self.rng.random() ** 8 * (60 if self.clock.fault(0.05) else 2)
        self.clock.later(delay_s, self._arrive, instance, message, on_stored)

    def _arrive(
        self, instance: str, message: Message, on_stored: Callable[[], None] | None
    ) -> None:
        if on_stored is not None:
            on_stored()
        self.owner_of(instance).arrive((instance, message))

    # --- people -------------------------------------------------------------------------------

    def react(self, decisions: Mapping[str, Sequence[Decision]]) -> None:
        """People answer what they are asked, and end what is parked."""
        for instance, made in decisions.items():
            for decision in made:
                for event in decision.events:
                    self._react(instance, event)

    def _react(self, instance: str, event: Mapping[str, Any]) -> None:
        if event["type"] == "InquiryAsked":
            if event["data"]["due_at"] is None or self.rng.random() < 0.6:
                delay_s = self.rng.random() * self.rng.choice((30, 30, 900))
                self.clock.later(delay_s, self._answer, instance, event["data"]["stage"])
        elif event["type"] == "IntentResolved":
            told = f"{event['data']['task']}/{event['data']['attempt']}"
            self.agents[instance].effects.resolved.add(told)
        elif event["type"] == "WorkflowParked":
            self._settle(instance, event["data"])
            if self.rng.random() < 0.3:
                self.clock.later(self.rng.random() * 20, self._pause, instance)
        elif event["type"] == "WorkflowPaused" and event["data"]["by"] == HOLDER:
            self.witness.paused_by_people.add(instance)
            name = self._name("resume")
            self.clock.later(self.rng.random() * 60, self._ask, instance, name, ResumeRequested)
        elif event["type"] in ENDS and instance == TOP and self.rng.random() < 0.5:
            self.clock.later(self.rng.random() ** 3 * 60, self._repair)

    def _settle(self, instance: str, parked: Mapping[str, Any]) -> None:
        wait_s, luck = self.rng.random() * 20, self.rng.random()
        if parked["cause"] == "intent_unknown":
            self.clock.later(wait_s, self._resolve, instance, parked["task"], parked["attempt"])
            if luck < 0.8:
                return
        if parked["cause"] == "after_final" and luck < 0.5:
            name = self._name("undo")
            self.clock.later(wait_s, self._ask, instance, name, CompensateRequested)
            wait_s += RESOLVE_AGAIN_S  # and where there was nothing to undo
        self.clock.later(wait_s, self._cancel, instance)

    def _resolve(self, instance: str, task: str, number: int) -> None:
        """A person looks what became of a final effect, and says so until it is known."""
        state = self.stored(instance)
        attempt = state.find(task, number) if state is not None else None
        if attempt is None or not attempt.is_held:
            return
        has_acted = self.agents[instance].truth((task, number))
        if has_acted is not None:
            outcome = "succeeded" if has_acted else self.rng.choice(("failed", "retry"))
            make = partial(
                IntentResolved, stage=attempt.stage, outcome=outcome, attempt=f"{task}/{number}"
            )
            self._ask(instance, self._name("resolve"), make)
        self.clock.later(RESOLVE_AGAIN_S, self._resolve, instance, task, number)

    def _somewhere(self, what: Callable[[str], None]) -> None:
        if self.places:
            is_top = self.rng.random() < 0.4
            what(TOP if is_top else self.rng.choice(list(self.places)))

    def _cancel(self, instance: str) -> None:
        self._ask(instance, self._name("cancel"), CancelRequested)

    def _repair(self) -> None:
        if self._names["compensate"] < MOST_REPAIRS:
            name = self._name("compensate")
            make = partial(CompensateRequested, hold=self.hold(TOP, self.clock.at))
            self._ask(TOP, name, make)

    def _pause(self, instance: str) -> None:
        self.witness.paused_by_people.add(instance)
        name = self._name("pause")
        self._ask(instance, name, PauseRequested)
        self.clock.later(self.rng.random() ** 2 * 900, self._resume, instance, name)

    def _resume(self, instance: str, pause: str) -> None:
        if (instance, pause) in self.answers:
            self._ask(instance, self._name("resume"), ResumeRequested)
        else:
            self.clock.later(ASK_AGAIN_S, self._resume, instance, pause)

    def _park(self, instance: str) -> None:
        self.witness.parked_by_people.add(instance)
        self._send(instance, lambda _: Parked(self.clock.at), None)

    def _answer(self, instance: str, stage: str) -> None:
        make = partial(InquiryAnswered, stage=stage, data={"ok": True})
        self._ask(instance, self._name("answer"), make)

    def _name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    def _ask(self, instance: str, name: str, make: Callable[..., Event]) -> None:
        """A person asks until there is an answer, and now and then once more."""
        is_started = name == "start" and self.stored(TOP) is not None
        if (is_started or (instance, name) in self.answers) and self.rng.random() < 0.9:
            return
        if not self.clock.fault(0.1):
            self._send(instance, lambda _: make(at=self.clock.at, command=name), None)
        self.clock.later(ASK_AGAIN_S, self._ask, instance, name, make)

    # --- telling ------------------------------------------------------------------------------

    def story(self, last: int = 60) -> str:
        """The last that happened, a line each."""
        lines = []
        for now, instance, event, outcome, status in self.trace[-last:]:
            if isinstance(outcome, Ignored):
                came = f"ignored: {outcome.reason}"
            else:
                types = [each["type"] for decision in outcome for each in decision.events]
                said = [
                    type(command).__name__
                    for decision in outcome
                    for command in decision.commands
                    if isinstance(command, Neighbourly)
                ]
                came = ", ".join([*types, *said]) or "nothing new"
            what = _told(event)
            lines.append(f"{now:8.1f} {self.places[instance]}: {what} -> {status}: {came}")
        return f"begun at {BASE:%H:%M}, {len(self.trace)} events\n" + "\n".join(lines)


def _told(event: Event | Parked) -> str:
    names = ("task", "attempt", "status", "source", "command", "answer", "stage")
    given = {name: getattr(event, name, None) for name in names}
    words = " ".join(str(value) for value in given.values() if value is not None)
    return f"{type(event).__name__}({words})"
