"""Definitions by digest: an instance is pinned to the one it started on, whatever the files say."""

from collections.abc import Callable, Mapping
from typing import Any

from sagabus.core.definition import Definition
from sagabus.errors import ConflictError, InvariantError, WorkflowNotFoundError
from sagabus.ports import Store


class Snapshots:
    """Every definition that running instances use, kept in the store and compiled once."""

    def __init__(
        self,
        store: Store,
        find: Callable[[str], Definition],
        compile_snapshot: Callable[[Mapping[str, Any]], Definition],
    ) -> None:
        self._store = store
        self._find = find
        self._compile = compile_snapshot
        self._by_digest: dict[str, Definition] = {}

    def in_force(self, name: str) -> Definition:
        """The definition that a new instance of ``name`` would start on.

        Raises:
            WorkflowNotFoundError: none of this name is loaded and enabled.
        """
        definition = self._find(name)
        if not definition.enabled:
            raise WorkflowNotFoundError(f"workflow {name!r} is disabled: set enabled = true")
        return definition

    async def newest(self, name: str) -> Definition:
        """The same, stored: as it has to be before it is used.

        Raises:
            WorkflowNotFoundError: none of this name is loaded and enabled.
            ConflictError: a workflow that it calls is just being changed.
        """
        definition = self.in_force(name)
        await self.keep(definition)
        return definition

    async def keep(self, definition: Definition) -> None:
        """Store a definition after those that it starts: it is never there without them.

        Raises:
            ConflictError: a workflow that it calls is just being changed.
        """
        if definition.digest in self._by_digest:
            return
        for name, digest in definition.workflows.items():
            child = self._find(name)
            if child.digest != digest:
                raise ConflictError(f"workflow {name!r} was changed at this moment: start again")
            await self.keep(child)
        await self._store.save_definition(definition.digest, definition.name, definition.document)
        self._by_digest[definition.digest] = definition

    async def of(self, digest: str) -> Definition:
        """The definition an instance is pinned to.

        Raises:
            InvariantError: the store has no such snapshot.
        """
        found = self._by_digest.get(digest)
        if found is None:
            document = await self._store.load_definition(digest)
            if document is None:
                raise InvariantError(f"definition snapshot {digest} is not in the store")
            found = self._by_digest[digest] = self._compile(document)
        return found
