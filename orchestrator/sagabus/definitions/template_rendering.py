"""One evaluation of a value: what its expressions see, and what they may spend in all."""

from collections.abc import Iterator, Mapping
from typing import Any

from sagabus.core.definition import SecretUse
from sagabus.definitions.template_budget import BUDGET, Budget
from sagabus.definitions.template_keys import KeyLookup


class _Once(Mapping[str, Any]):
    """A table whose values are made when they are asked for, each once."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self._made: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._made:
            self._made[key] = self._table[key]
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


class Rendering:
    """One evaluation of a value, whole."""

    def __init__(self, scope: Mapping[str, Any], uses: list[SecretUse] | None = None) -> None:
        """``uses``: where secrets are placed; None: nowhere."""
        self.uses = uses
        self.budget = Budget()
        # A stage's result may be gathered from thousands of tasks.
        stages = _Once(scope.get("task", {}))
        self._names = {**scope, "task": stages, "stage": stages, BUDGET: self.budget}
        if "kv" in scope:
            self._names["kv"] = KeyLookup(scope["kv"], has_secrets=uses is not None)

    def names(self) -> Mapping[str, Any]:
        """What Jinja sees."""
        return self._names
