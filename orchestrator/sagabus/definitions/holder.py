"""Keeps the catalog in force, and replaces it when the files change for the better."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import structlog

from sagabus.definitions.catalog import Catalog
from sagabus.definitions.load import PolicyLoader, load_config
from sagabus.errors import InvalidConfigError
from sagabus.ports import Policies

_log = structlog.get_logger(__name__)


class CatalogHolder:
    """The catalog in force; a file that is wrong changes nothing but ``last_error``."""

    def __init__(self, path: Path, load_policies: PolicyLoader | None = None) -> None:
        """Load ``path``.

        Raises:
            InvalidConfigError: everything that is wrong with it.
        """
        self._path = path
        self._load_policies = load_policies
        self._watched: Sequence[str] = ()
        #: Why the files as they are now are not in force; None when they are.
        self.last_error: InvalidConfigError | None = None
        #: Reloads that changed what is in force, and that were refused.
        self.reloads = 0
        self.refused = 0
        #: What instances that started under policies go on with after these were removed.
        self.last_policies: Policies | None = None
        self.current = self._load()
        self.loaded_at = datetime.now(UTC)

    def watched(self) -> Sequence[str]:
        """Patterns of the files to watch: of the last attempt, whether or not it succeeded."""
        return self._watched

    def reload(self) -> bool:
        """Read the files again; False when they are wrong, and what was in force stays so."""
        try:
            catalog = self._load()
        except InvalidConfigError as error:
            if str(error) != str(self.last_error):
                self.refused += 1
                problems = [str(problem) for problem in error.problems]
                _log.error("config_reload_refused", path=str(self._path), problems=problems)
            self.last_error = error
            return False
        is_changed = catalog != self.current
        self.current, self.last_error = catalog, None
        if is_changed:
            self.reloads += 1
            self.loaded_at = datetime.now(UTC)
            _log.info(
                "config_reloaded", path=str(self._path), workflows=sorted(catalog.definitions)
            )
        return True

    async def follow(self, changes: AsyncGenerator[object, None]) -> AsyncGenerator[None, None]:
        """Reload whenever ``changes`` yields, off the event loop, and yield after each reload.

        Closes ``changes`` at its end.
        """
        async with aclosing(changes):
            async for _ in changes:
                await asyncio.to_thread(self.reload)
                yield

    def _load(self) -> Catalog:
        loading = load_config(self._path, self._load_policies)
        self._watched = loading.watched
        catalog = Catalog.of(self._path, loading)
        self.last_policies = catalog.policies or self.last_policies
        return catalog
