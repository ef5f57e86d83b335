"""The route of ledgers."""

from typing import Annotated

from fastapi import APIRouter, Query

from sagabus.api.body import StrictJsonRoute
from sagabus.api.facade import Behind
from sagabus.api.failures import documented
from sagabus.views.ledger import LedgerEntry, ledger_of
from sagabus.views.shared import View

router = APIRouter(
    prefix="/api/v1/workflow-executions", tags=["executions"], route_class=StrictJsonRoute
)


class Ledger(View):
    """Entries of a ledger; ``next_offset`` continues, null at the end."""

    items: list[LedgerEntry]
    next_offset: int | None


@router.get("/{id}/ledger", responses=documented(404))
async def get_ledger(
    orchestrator: Behind,
    id: str,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Ledger:
    """Every attempt of every task and compensation, with what went in and what came out."""
    entries = ledger_of(await orchestrator.get(id))
    end = offset + limit
    return Ledger(items=entries[offset:end], next_offset=end if end < len(entries) else None)
