"""Carrying out a committed turn: what agents, people and the world are told, in this order.

Withdrawals and answers to claims, large payloads, tasks, lifecycle events, answers to commands,
dead letters. Last of all, what has served is deleted.
"""

from collections.abc import Callable, Sequence

import structlog

from sagabus.core.commands import (
    AnswerClaim,
    BuryTask,
    Command,
    CommandChild,
    SetTimer,
    StartChild,
    TellParent,
    UndoChild,
    WithdrawTask,
)
from sagabus.core.instance import Answer
from sagabus.ports import Bus, HistoryEntry, OutgoingEvent
from sagabus.runtime.dead_letters import letter_of_message, letter_of_task
from sagabus.runtime.messages import event_message
from sagabus.runtime.payloads import forget_payloads, store_payloads
from sagabus.runtime.reading import Item
from sagabus.runtime.subworkflows import tell_instance
from sagabus.runtime.turn import Turn
from sagabus_agents.wire import (
    CancelMessage,
    ClaimAnswer,
    ClaimVerdict,
    CommandMessage,
    CommandReply,
    cancel_subject,
    dead_subject,
    task_subject,
)

log = structlog.get_logger(__name__)


async def carry_out(
    bus: Bus,
    turn: Turn,
    answers: Sequence[tuple[Item, Answer]],
    set_timer: Callable[[str, SetTimer], None],
) -> None:
    """Tell everybody. What fails here is told again when the partition is taken again."""
    for instance, command in turn.changes.commands:
        if isinstance(command, SetTimer):
            set_timer(instance, command)
        else:
            await tell(bus, instance, command)
    events = event_messages(turn.changes.history)
    if events or turn.changes.tasks or turn.resends:
        tasks = await store_payloads(bus, [*turn.changes.tasks, *turn.resends])
        await bus.publish(events, tasks)
    for item, answer in answers:
        await _reply(bus, item, answer)
    for dead in turn.dead:
        log.warning("dead_letter", workflow_id=dead.instance, reason=dead.reason, role=dead.role)
        data = letter_of_message(dead, turn.at)
        await bus.dead_letter(dead_subject(dead.role, dead.instance), data)
    await forget_payloads(bus, turn)


def event_messages(history: Sequence[HistoryEntry]) -> list[OutgoingEvent]:
    """History as announced to the world."""
    return [
        event_message(entry.instance, entry.workflow, event)
        for entry in history
        for event in entry.events
    ]


async def tell(bus: Bus, instance: str, command: Command) -> None:
    """Carry out a command that is for agents or other instances; the rest is done elsewhere."""
    match command:
        case AnswerClaim():
            answer = ClaimAnswer(claim=command.claim, answer=ClaimVerdict(command.answer))
            await bus.notify(command.reply, answer.model_dump_json().encode())
        case WithdrawTask():
            attempt = command.attempt
            if command.is_purged:
                await bus.purge_task(
                    task_subject(attempt.role, instance, attempt.task, attempt.attempt)
                )
            if command.is_told:
                notice = CancelMessage(
                    task=attempt.task, attempt=attempt.attempt, reason=command.reason
                )
                await bus.notify(cancel_subject(instance), notice.model_dump_json().encode())
        case BuryTask():
            subject = dead_subject(command.attempt.role, instance)
            await bus.dead_letter(subject, letter_of_task(instance, command))
        case StartChild() | UndoChild() | CommandChild() | TellParent():
            await tell_instance(bus, instance, command)
        case _:
            pass  # tasks are published together; the rest is told when all is published


async def _reply(bus: Bus, item: Item, answer: Answer) -> None:
    message = item.message
    if not isinstance(message, CommandMessage) or message.reply is None:
        return
    reply = CommandReply(
        command=message.command,
        ok=answer.ok,
        result=answer.result,
        code=answer.code,
        message=answer.message,
    )
    await bus.notify(message.reply, reply.model_dump_json().encode())
