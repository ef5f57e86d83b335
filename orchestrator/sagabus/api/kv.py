"""Routes of values and secrets by key; no answer ever holds a secret."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from sagabus.api.body import StrictJsonRoute
from sagabus.api.facade import Behind, By, Reason
from sagabus.api.failures import documented
from sagabus.errors import InvalidRequestError
from sagabus.ports import KeyValue
from sagabus.views.shared import View

router = APIRouter(prefix="/api/v1/kv", tags=["keys"], route_class=StrictJsonRoute)


class KeyRequest(BaseModel):
    """What to put under a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Any JSON; of a secret its text.
    value: Any
    is_secret: bool = False
    #: Who, and why; both are recorded.
    by: str = Field(default="", max_length=256)
    reason: str = Field(default="", max_length=2000)


class KeyView(View):
    """What stands under a key."""

    key: str
    #: Null for a secret.
    value: Any
    is_secret: bool
    updated_at: datetime


class DeletedKey(View):
    """A key that is no more."""

    key: str


class KeyList(View):
    """Keys in order; ``cursor`` continues, null at the end."""

    items: list[KeyView]
    cursor: str | None


@router.get("", responses=documented())
async def list_keys(
    orchestrator: Behind,
    prefix: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: str | None = None,
) -> KeyList:
    """Keys that begin with ``prefix``, with their values."""
    page = await orchestrator.kv.list(prefix, limit=limit, cursor=cursor)
    return KeyList(items=[_view(item) for item in page.items], cursor=page.cursor)


@router.get("/{key:path}", responses=documented(404))
async def get_key(orchestrator: Behind, key: str) -> KeyView:
    """What stands under a key."""
    found = await orchestrator.kv.get(key)
    if found is None:
        raise _missing(key)
    return _view(found)


@router.put("/{key:path}", responses=documented(409, 413))
async def put_key(orchestrator: Behind, key: str, body: KeyRequest) -> KeyView:
    """Put a value, or a secret, under a key, whatever stood there.

    409: there is no key to encrypt secrets with.
    """
    if not body.is_secret:
        await orchestrator.kv.set(key, body.value, by=body.by, reason=body.reason)
    elif isinstance(body.value, str):
        await orchestrator.kv.set_secret(key, body.value, by=body.by, reason=body.reason)
    else:
        raise InvalidRequestError("value: a secret is text")
    return await get_key(orchestrator, key)


@router.delete("/{key:path}", responses=documented(404))
async def delete_key(
    orchestrator: Behind, key: str, by: By = "", reason: Reason = ""
) -> DeletedKey:
    """Take a key away."""
    if not await orchestrator.kv.delete(key, by=by, reason=reason):
        raise _missing(key)
    return DeletedKey(key=key)


def _view(found: KeyValue) -> KeyView:
    return KeyView(
        key=found.key,
        value=found.value,
        is_secret=found.is_secret,
        updated_at=found.updated_at,
    )


def _missing(key: str) -> HTTPException:
    return HTTPException(404, f"there is no key {key!r}")
