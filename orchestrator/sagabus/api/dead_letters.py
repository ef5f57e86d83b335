"""Routes of dead letters: what nobody could use or finish, and its way back."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from sagabus.api.body import StrictJsonRoute
from sagabus.api.documents import WhyRequest
from sagabus.api.facade import Behind, By, Reason
from sagabus.api.failures import documented
from sagabus.app.dead_letters import Letter
from sagabus.views.shared import View

router = APIRouter(
    prefix="/api/v1/dead-letters", tags=["dead letters"], route_class=StrictJsonRoute
)


class LetterSummary(View):
    """One dead letter, without what it holds."""

    #: Its number; a letter that is kept again gets another one.
    seq: int
    at: datetime
    reason: str
    subject: str
    instance: str | None
    #: Who sent the message, or was to do the task.
    role: str | None
    stage: str | None
    task: str | None
    attempt: int | None
    #: How often it was delivered.
    delivery: int


class LetterView(LetterSummary):
    """One dead letter."""

    #: The original message as text; of one that is long, or no text, the beginning.
    payload: str
    #: Bytes of the original message.
    size: int
    #: ``payload`` is all of it.
    is_whole: bool


class LetterList(View):
    """Dead letters, newest first; ``before`` continues, null at the end."""

    items: list[LetterSummary]
    before: int | None
    #: How many there are in all.
    total: int


class RequeuedLetter(View):
    """A letter that was sent once more."""

    seq: int
    #: What was sent: a message to the instance, or a task to its role.
    sent: Literal["message", "task"]


class DroppedLetter(View):
    """A letter that is no more."""

    seq: int


@router.get("", responses=documented())
async def list_dead_letters(
    orchestrator: Behind,
    instance: str | None = None,
    role: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> LetterList:
    """Dead letters, newest first."""
    page = await orchestrator.dead_letters.list(
        instance=instance, role=role, before=before, limit=limit
    )
    items = [LetterSummary(**_fields(each)) for each in page.items]
    return LetterList(items=items, before=page.before, total=page.total)


@router.get("/{seq}", responses=documented(404))
async def get_dead_letter(orchestrator: Behind, seq: int) -> LetterView:
    """One dead letter, with what it holds."""
    found = await orchestrator.dead_letters.get(seq)
    content = found.content
    return LetterView(
        **_fields(found), payload=content.payload, size=content.size, is_whole=content.is_whole
    )


@router.post("/{seq}/requeue", responses=documented(404, 409))
async def requeue_dead_letter(
    orchestrator: Behind, seq: int, body: WhyRequest | None = None
) -> RequeuedLetter:
    """Send it once more, and drop it. 409: that would do harm or nothing; the message says why."""
    request = body or WhyRequest()
    sent = await orchestrator.dead_letters.requeue(seq, by=request.by, reason=request.reason)
    return RequeuedLetter(seq=seq, sent=sent)


@router.delete("/{seq}", responses=documented(404))
async def drop_dead_letter(
    orchestrator: Behind,
    seq: int,
    by: By = "",
    reason: Reason = "",
) -> DroppedLetter:
    """Delete it."""
    await orchestrator.dead_letters.drop(seq, by=by, reason=reason)
    return DroppedLetter(seq=seq)


def _fields(letter: Letter) -> dict[str, object]:
    content = letter.content
    return {
        "seq": letter.seq,
        "at": content.at,
        "reason": content.reason,
        "subject": content.subject,
        "instance": content.instance,
        "role": content.role,
        "stage": content.stage,
        "task": content.task,
        "attempt": content.attempt,
        "delivery": content.delivery,
    }
