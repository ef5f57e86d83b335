"""Keeps the catalog in force, and replaces it when the files change for the better."""

import asyncio
import shlex
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.checking import Checked, check_documents
from sagabus.definitions.load import assemble
from sagabus.definitions.reading import PolicyLoader, Reading, read_config
from sagabus.definitions.registered import Refused, RegisteredSource
from sagabus.errors import InvalidConfigError, WorkflowNotFoundError
from sagabus.ports import Policies


@dataclass(frozen=True, slots=True)
class Refusal:
    """Files that were changed, and are not in force as they are now."""

    file: Path
    error: InvalidConfigError
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __str__(self) -> str:
        """What somebody is told who misses something."""
        return (
            f"the file on disk was refused at {self.at:%H:%M} UTC: "
            f"`sagabus validate {shlex.quote(str(self.file))}` says why"
        )


_log = structlog.get_logger(__name__)


class CatalogHolder:
    """The catalog in force; a file that is wrong changes nothing but ``refusal``."""

    def __init__(self, path: Path, load_policies: PolicyLoader | None = None) -> None:
        """Load ``path``.

        Raises:
            InvalidConfigError: everything that is wrong with it.
        """
        self._path = path
        self._load_policies = load_policies
        self._watched: Sequence[str] = ()
        #: Held while what is in force changes: by the files, or by what is registered.
        self._changing = threading.Lock()
        self._registered: Sequence[RegisteredSource] = ()
        #: Why the files as they are now are not in force; None when they are.
        self.refusal: Refusal | None = None
        #: Reloads that changed what is in force, and that were refused.
        self.reloads = 0
        self.refused = 0
        self.current = self._put_together(self._read())
        #: What instances that started under policies go on with after these were removed.
        self.last_policies: Policies | None = self.current.policies
        self.loaded_at = datetime.now(UTC)

    @property
    def last_error(self) -> InvalidConfigError | None:
        """What is wrong with the files as they are now."""
        return self.refusal.error if self.refusal else None

    def find(self, name: str) -> Definition:
        """The definition of that name in force.

        Raises:
            WorkflowNotFoundError: there is none; tells whether that may be as files were refused.
        """
        try:
            return self.current.get(name)
        except WorkflowNotFoundError as error:
            if self.refusal is None:
                raise
            raise WorkflowNotFoundError(f"{error}; {self.refusal}") from None

    def watched(self) -> Sequence[str]:
        """Patterns of the files to watch: of the last attempt, whether or not it succeeded."""
        return self._watched

    def reload(self) -> bool:
        """Read the files again; False when they are wrong, and what was in force stays so."""
        with self._changing:
            try:
                catalog = self._put_together(self._read())
            except InvalidConfigError as error:
                self._refuse(error)
                return False
            self.refusal = None
            if self._replace(catalog):
                self.reloads += 1
                _log.info(
                    "config_reloaded", path=str(self._path), workflows=sorted(catalog.definitions)
                )
            return True

    def register(self, documents: Sequence[RegisteredSource]) -> Sequence[Refused]:
        """Have exactly ``documents`` in force beside the files; those that cannot be, and why.

        The files are not read again: those that are in force stay so. A document whose name a file
        defines waits until it does not any more.
        """
        with self._changing:
            before, self._registered = self._registered, tuple(documents)
            try:
                self._replace(self._put_together(self._reading))
            except InvalidConfigError:
                # A workflow in a file calls what is gone or wrong: so nothing changes.
                self._registered = before
                raise
            return self.current.refused

    def check(self, documents: Sequence[RegisteredSource]) -> Checked:
        """What ``documents`` would be in force; nothing changes."""
        return check_documents(documents, self.current)

    async def follow(self, changes: AsyncGenerator[object, None]) -> AsyncGenerator[None, None]:
        """Reload whenever ``changes`` yields, off the event loop, and yield after each reload.

        Closes ``changes`` at its end.
        """
        async with aclosing(changes):
            async for _ in changes:
                await asyncio.to_thread(self.reload)
                yield

    def _read(self) -> Reading:
        reading = read_config(self._path, self._load_policies)
        self._watched = reading.watched
        return reading

    def _put_together(self, reading: Reading) -> Catalog:
        catalog = Catalog.of(self._path, assemble(reading, self._registered))
        self._reading = reading
        return catalog

    def _replace(self, catalog: Catalog) -> bool:
        """Put ``catalog`` in force; False: it says what is in force already."""
        for refused in catalog.refused:
            if refused not in self.current.refused:
                problems = [str(problem) for problem in refused.problems]
                _log.error("registered_workflow_refused", name=refused.name, problems=problems)
        is_changed = catalog != self.current
        self.current = catalog
        self.last_policies = catalog.policies or self.last_policies
        if is_changed:
            self.loaded_at = datetime.now(UTC)
        return is_changed

    def _refuse(self, error: InvalidConfigError) -> None:
        if str(error) != str(self.last_error):
            self.refused += 1
            problems = [str(problem) for problem in error.problems]
            _log.error("config_reload_refused", path=str(self._path), problems=problems)
        self.refusal = Refusal(self._path.absolute(), error)
