"""Workflows that are registered while the orchestrator runs, in force beside those in files.

What is registered stands in the database, every version of it. Each orchestrator follows a counter
there, so that a change made through one is in force in all: a notice on the bus hurries it, and
nothing depends on the notice.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.holder import CatalogHolder
from sagabus.definitions.registered import DocumentFormat, RegisteredSource
from sagabus.errors import (
    BusError,
    ConfigError,
    ConflictError,
    DefinitionError,
    InvalidConfigError,
    StoreError,
    WorkflowNotFoundError,
)
from sagabus.ports import Bus, Registered, Registry, WorkflowText

log = structlog.get_logger(__name__)

#: Core NATS, best effort: somebody has changed the registry.
NOTICE: Final = "sagabus.registry"
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A workflow that somebody wants to register: a document of its own."""

    text: str
    format: DocumentFormat
    #: Names the text in messages, and where in that it begins.
    origin: str = "document"
    line: int = 1


class WorkflowRegistry:
    """What is registered: in force here, and open to changes."""

    def __init__(
        self,
        registry: Registry,
        holder: CatalogHolder,
        bus: Bus,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """``on_change`` is awaited whenever other definitions are in force."""
        self._registry = registry
        self._holder = holder
        self._bus = bus
        self._on_change = on_change
        self._hint = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._seen = -1
        #: What could not be put in force, and beside what.
        self._refused: tuple[int, Catalog | None] = (-1, None)
        self._current: Mapping[str, Registered] = {}

    def of(self, name: str) -> Registered | None:
        """What is registered under ``name``, unless a file defines that."""
        return self._current.get(name) if name not in self._holder.current.places else None

    def problems(self, name: str) -> Sequence[ConfigError]:
        """Why what is registered under ``name`` is not in force."""
        refused = self._holder.current.refused
        return [problem for one in refused if one.name == name for problem in one.problems]

    async def refresh(self) -> None:
        """Put in force what is registered now.

        Raises:
            StoreError: the database is away, or refuses.
        """
        async with self._refreshing:
            changes, found = await self._registry.current()
            if changes == self._seen or self._refused == (changes, self._holder.current):
                return
            sources = [_in_force(each.workflow) for each in found]
            try:
                await asyncio.to_thread(self._holder.register, sources)
            except InvalidConfigError as error:
                # A file needs what is gone or wrong: all stays as it was, until either changes.
                self._refused = (changes, self._holder.current)
                log.error("registry_refused", changes=changes, error=str(error))
                return
            self._seen = changes
            self._current = {each.workflow.name: each for each in found}
            log.info("registry_read", changes=changes, workflows=sorted(self._current))
        await self._on_change()

    async def follow(self) -> None:
        """Put in force what others register, for ever."""
        async with await self._bus.subscribe(NOTICE, lambda *_: self._hint.set()):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._hint.wait()
                self._hint.clear()
                try:
                    if await self._registry.changes() != self._seen:
                        await self.refresh()
                except StoreError as error:
                    log.debug("registry_not_read", error=str(error))

    async def register(
        self,
        drafts: Sequence[Draft],
        *,
        by: str,
        pack: str | None = None,
        name: str | None = None,
        expected: int | None = None,
        reason: str = "",
    ) -> list[Registered]:
        """Store new versions of all ``drafts``, or of none, and put them in force.

        Args:
            drafts: one for each of different workflows.
            by: who asks.
            pack: their names have to begin with it; a name without a dot gets it.
            name: what the one draft has to be called.
            expected: the version that each has now; 0: none is registered.
            reason: why; it is recorded.

        Raises:
            InvalidConfigError: everything that is wrong with them; nothing was stored.
            ConflictError: a file defines one, or another version is registered.
        """
        if pack is None and name is not None:
            pack = pack_of(name) or None
        sources = [_source(draft, pack) for draft in drafts]
        checked = await asyncio.to_thread(self._holder.check, sources)
        problems = [*checked.problems, *_misnamed(drafts, checked.definitions, name)]
        if problems:
            raise InvalidConfigError(problems)
        for definition in checked.definitions:
            self._check_files(definition.name)
        texts = [
            WorkflowText(one.name, pack_of(one.name), draft.format, draft.text, one.digest)
            for draft, one in zip(drafts, checked.definitions, strict=True)
        ]
        stored = await self._registry.register(
            texts,
            by=by,
            at=datetime.now(UTC),
            expected={} if expected is None else {text.name: expected for text in texts},
            reason=reason,
        )
        await self._changed()
        return stored

    async def delete(
        self, name: str, *, by: str, expected: int | None = None, reason: str = ""
    ) -> Registered:
        """Take a workflow out of force; its running instances go on.

        Raises:
            WorkflowNotFoundError: there is none of that name.
            ConflictError: a file defines it, another workflow calls it, or another version is
                registered.
        """
        self._check_files(name)
        definitions = self._holder.current.definitions
        callers = sorted(each.name for each in definitions.values() if name in each.workflows)
        if callers:
            raise ConflictError(
                f"workflow {name!r} is called by {', '.join(callers)}: change or delete that first"
            )
        deleted = await self._registry.delete(
            name, by=by, at=datetime.now(UTC), expected=expected, reason=reason
        )
        if deleted is None:
            raise WorkflowNotFoundError(f"no workflow {name!r} is registered")
        await self._changed()
        return deleted

    async def find(self, name: str, version: int) -> Registered:
        """One version of a workflow, whether or not it is in force.

        Raises:
            WorkflowNotFoundError: it has none of that number.
        """
        found = await self._registry.find(name, version)
        if found is None:
            raise WorkflowNotFoundError(f"no version {version} of workflow {name!r} is registered")
        return found

    async def versions(self, name: str) -> list[Registered]:
        """Every version of a workflow, newest first.

        Raises:
            WorkflowNotFoundError: it was never registered.
        """
        found = await self._registry.versions(name)
        if not found:
            raise WorkflowNotFoundError(f"workflow {name!r} has no versions: none is registered")
        return found

    async def _changed(self) -> None:
        await self.refresh()
        try:
            await self._bus.notify(NOTICE, b"")
        except BusError as error:
            log.debug("registry_notice_not_sent", error=str(error))  # the others look by themselves

    def _check_files(self, name: str) -> None:
        place = self._holder.current.places.get(name)
        if place is not None:
            raise ConflictError(
                f"workflow {name!r} is defined in {place}, and a file wins: change it there, or"
                " choose another name"
            )


def pack_of(name: str) -> str:
    """The pack that a workflow's name says it belongs to; empty where it says none."""
    return name.partition(".")[0] if "." in name else ""


def _source(draft: Draft, pack: str | None) -> RegisteredSource:
    # Empty lines before it, so that every line has its number in the file that it comes from.
    text = "\n" * (draft.line - 1) + draft.text
    return RegisteredSource(text, draft.format, draft.origin, pack)


def _in_force(workflow: WorkflowText) -> RegisteredSource:
    return RegisteredSource(
        workflow.text,
        workflow.format,
        f"registered {workflow.name}",
        workflow.pack or None,
        known_as=workflow.name,
    )


def _misnamed(
    drafts: Sequence[Draft], definitions: Sequence[Definition], name: str | None
) -> list[DefinitionError]:
    problems = []
    for draft, definition in zip(drafts, definitions, strict=False):
        given = definition.name
        if pack_of(given) == "core":
            reason = f"{given!r} is a name of the engine itself; choose another pack"
        elif name not in {None, given}:
            reason = f"calls itself {given!r}, and is to be {name!r}; write that, or send it there"
        else:
            continue
        problems.append(DefinitionError(reason, path=draft.origin, workflow=given, key="name"))
    return problems
