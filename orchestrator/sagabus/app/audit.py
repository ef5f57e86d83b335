"""The audit trail: who did what, when and why, and whether what is stored of it is what was stored.

Trails are verified from the stored rows alone, a page of rows at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sagabus.core.chain import Entry, EntryCheck, Fault, Head, TrailCheck, TrailRow
from sagabus.core.fingerprint import fingerprint
from sagabus.core.instance import Instance
from sagabus.errors import InstanceNotFoundError, StoreError, StoreUnavailableError
from sagabus.ports import AuditTrail, Store

#: Rows read at once: one may hold some hundred KB.
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the trail of one instance, or that beside instances, was found."""

    #: None: the trail of what people did beside instances.
    instance: str | None
    #: Rows, or entries.
    rows: int
    #: Rows from before rows were chained.
    not_covered: int
    #: Version of the last row, or number of the last entry.
    version: int
    #: Link of the last row or entry; empty where there is none.
    head: str
    #: The first place that does not fit; None: all fits.
    fault: Fault | None


class Audit:
    """The audit trail of one installation."""

    def __init__(self, trail: AuditTrail, store: Store) -> None:
        self._trail = trail
        self._store = store

    async def entries(self, after: int, limit: int) -> list[Entry]:
        """What people did beside instances, behind entry ``after``, oldest first."""
        return await self._trail.entries(after, limit)

    async def instances(self, after: str, limit: int) -> list[str]:
        """Ids of stored instances behind ``after``, in order."""
        return await self._trail.instances(after, limit)

    async def rows(self, instance: str, after: int, limit: int) -> list[TrailRow]:
        """Rows of an instance's trail beyond version ``after``, oldest first."""
        return await self._trail.rows(instance, after, limit)

    async def verify_entries(self, noted: Mapping[int, str] | None = None) -> Verdict:
        """Verify the trail of what people did beside instances.

        ``noted``: links by number, as somebody noted them elsewhere.
        """
        number, link = await self._trail.last_entry()
        check = EntryCheck(dict(noted or {}))
        after = 0
        while entries := await self._trail.entries(after, _PAGE):
            for entry in entries:
                if entry.number <= number:  # what was added meanwhile is behind the head
                    check.add(entry)
            after = entries[-1].number
        check.end(number, link)
        return Verdict(None, check.number, 0, check.number, check.link, check.fault)

    async def verify(self, instance: str, noted: Mapping[int, str] | None = None) -> Verdict:
        """Verify the trail of one instance; ``noted``: links by version.

        Raises:
            InstanceNotFoundError: there is none, or it was deleted meanwhile.
        """
        try:
            version = (await self._row(instance)).version
            attempts = await self._attempts(instance)
            row = await self._row(instance)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            fault = Fault("unreadable", 0, None, str(error))
            return Verdict(instance, 0, 0, 0, "", fault)
        # It goes on while it is looked at: its attempts were read at some moment since then.
        check = TrailCheck(await self._trail.chained_since(), dict(noted or {}), version)
        await self._check_rows(check, row)
        check.end(Head(row.version, row.seq, row.chain))
        check.compare(attempts)
        check.compare_beginning(row.digest, fingerprint(row.parameters))
        if check.fault is not None:
            await self._row(instance)  # a deletion goes through the rows one after another
        return Verdict(
            instance, check.rows, check.not_covered, check.version, check.link, check.fault
        )

    async def _row(self, instance: str) -> Instance:
        row = await self._store.load_row(instance)
        if row is None:
            raise InstanceNotFoundError(f"there is no instance {instance!r}")
        return row

    async def _check_rows(self, check: TrailCheck, head: Instance) -> None:
        after = 0
        while rows := await self._trail.rows(head.id, after, _PAGE):
            for row in rows:
                if row.version <= head.version:  # it goes on while its trail is read
                    check.add(row)
            after = rows[-1].version
            if after >= head.version:
                return

    async def _attempts(self, instance: str) -> dict[str, str]:
        """Digests of the rows of attempts, by ``task/attempt``."""
        digests: dict[str, str] = {}
        after = ("", 0)
        while found := await self._trail.attempt_sums(instance, after, _PAGE):
            digests |= {f"{task}/{number}": digest for task, number, digest in found}
            after = found[-1][:2]
        return digests
