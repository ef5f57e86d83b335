"""The registry in memory: the same promises as in the database, for tests."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sagabus.adapters.audit_entry import workflow_changed
from sagabus.adapters.memory_entries import MemoryEntries
from sagabus.adapters.store_errors import stale_workflow
from sagabus.ports import Registered, WorkflowText


class MemoryRegistry:
    """A ``ports.Registry`` that ends with the process."""

    def __init__(self, entries: MemoryEntries | None = None) -> None:
        self._entries = entries or MemoryEntries()
        self._changes = 0
        self._versions: dict[str, list[Registered]] = {}

    async def changes(self) -> int:
        """How many changes there were."""
        return self._changes

    async def current(self) -> tuple[int, list[Registered]]:
        """``changes``, and the newest versions of all that are not deleted, by name."""
        newest = [versions[-1] for _, versions in sorted(self._versions.items())]
        return self._changes, [each for each in newest if not each.is_deleted]

    async def find(self, name: str, version: int | None = None) -> Registered | None:
        """One version, or the newest."""
        versions = self._versions.get(name, [])
        number = len(versions) if version is None else version
        return versions[number - 1] if 0 < number <= len(versions) else None

    async def versions(self, name: str) -> list[Registered]:
        """Every version of a name, newest first."""
        return list(reversed(self._versions.get(name, [])))

    async def register(
        self,
        workflows: Sequence[WorkflowText],
        *,
        by: str,
        at: datetime,
        expected: Mapping[str, int],
        reason: str = "",
    ) -> list[Registered]:
        """Store all, or none."""
        for workflow in workflows:
            self._check(workflow.name, expected.get(workflow.name))
        self._changes += 1
        return [self._put(workflow, by, at, reason) for workflow in workflows]

    async def delete(
        self, name: str, *, by: str, at: datetime, expected: int | None = None, reason: str = ""
    ) -> Registered | None:
        """Take a workflow out of force."""
        held = await self.find(name)
        if held is None or held.is_deleted:
            return None
        self._check(name, expected)
        self._changes += 1
        gone = WorkflowText(name, held.workflow.pack, held.workflow.format, "", "")
        deleted = Registered(gone, held.version + 1, by, at, is_deleted=True)
        self._versions[name].append(deleted)
        self._entries.add(workflow_changed(gone, by, at, reason, is_deleted=True))
        return deleted

    def _check(self, name: str, expected: int | None) -> None:
        versions = self._versions.get(name, [])
        held = 0 if not versions or versions[-1].is_deleted else len(versions)
        if expected is not None and expected != held:
            raise stale_workflow(name, held)

    def _put(self, workflow: WorkflowText, by: str, at: datetime, reason: str) -> Registered:
        versions = self._versions.setdefault(workflow.name, [])
        if versions and not versions[-1].is_deleted and versions[-1].workflow == workflow:
            return versions[-1]
        versions.append(Registered(workflow, len(versions) + 1, by, at))
        self._entries.add(workflow_changed(workflow, by, at, reason, is_deleted=False))
        return versions[-1]
