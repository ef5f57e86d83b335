"""What a scripted outcome says to the machine, in the words of an agent or of an instance below."""

from datetime import datetime

from sagabus.core.commands import TellParent
from sagabus.core.events import ClaimReceived, ResultReceived
from sagabus.core.instance import Attempt
from sagabus.rehearsal.script import UNDO, Outcome

_AGENT = "rehearsal"


def names_of(attempt: Attempt) -> tuple[str, ...]:
    """Under which names a script may speak of an attempt, the most particular first."""
    if attempt.kind == "compensation":
        return (UNDO + undone_task(attempt), UNDO + attempt.stage)
    return (attempt.task, attempt.stage)


def undone_task(attempt: Attempt) -> str:
    """The task that a compensation undoes."""
    return attempt.task.partition("-undo-")[0]


def claim_of(attempt: Attempt, at: datetime, claim: str) -> ClaimReceived:
    """An agent asks to run the attempt."""
    return ClaimReceived(
        at=at,
        source=attempt.role,
        claim=claim,
        task=attempt.task,
        attempt=attempt.attempt,
        agent=_AGENT,
        delivery=1,
        reply="",
    )


def result_of(attempt: Attempt, outcome: Outcome, at: datetime) -> ResultReceived:
    """An agent says how the attempt ended."""
    error = outcome.error
    if error is None:
        return ResultReceived(
            at=at,
            source=attempt.role,
            task=attempt.task,
            attempt=attempt.attempt,
            status="succeeded",
            agent=_AGENT,
            output=outcome.output,
            artifacts=outcome.artifacts,
        )
    return ResultReceived(
        at=at,
        source=attempt.role,
        task=attempt.task,
        attempt=attempt.attempt,
        status="failed",
        agent=_AGENT,
        artifacts=outcome.artifacts,
        error_type=error.type,
        error_message=error.message or f"the script says {error.type}",
        is_retryable=error.retryable,
    )


def news_of(instance: str, command: TellParent, at: datetime) -> ResultReceived:
    """An instance below says how it ended."""
    error = command.error
    return ResultReceived(
        at=at,
        source="_workflow",
        task=command.parent.task,
        attempt=command.parent.attempt,
        status=command.status,
        agent=instance,
        output=command.output,
        error_type=error.type if error else "",
        error_message=error.message if error else "",
        has_left_effects=command.has_left_effects,
        left=command.left,
        seq=command.seq,
    )
