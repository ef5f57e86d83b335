"""An orchestrator whose definitions are real: files, and a registry in memory beside them."""

from collections.abc import Mapping
from pathlib import Path

from sagabus.adapters.memory_registry import MemoryRegistry
from sagabus.app.registry import WorkflowRegistry
from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.holder import CatalogHolder, Refusal
from tests.support.memory_orchestrator import MemoryOrchestrator

MAIN = """
[[workflows]]
name = "from_file"
[[workflows.stages]]
name = "build"
agents = ["devops"]
"""
PACK = {
    "pack.yaml": "ref: shop\nlabel: The shop\nversion: 1.2.0\n",
    "actions/pay.yaml": "role: cashier\ndescription: Takes money\n"
    "parameters: {amount: {type: number, required: true}}\n",
    "workflows/refund.yaml": "ref: shop.refund\ntasks:\n  - {name: pay, action: shop.pay,"
    " input: {amount: 1}}\n",
}


class NoBus:
    """Tells nobody."""

    async def notify(self, subject: str, data: bytes) -> None:
        """Nothing."""


class RegistryOrchestrator(MemoryOrchestrator):
    """As ``sagabus.app.Orchestrator``, for what concerns definitions."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        write_files(directory)
        self.holder = CatalogHolder(directory / "workflows.toml")
        self.stored = MemoryRegistry()
        self.changes = 0
        self.registry = WorkflowRegistry(self.stored, self.holder, NoBus(), self._on_change)

    def catalog(self) -> Catalog:
        return self.holder.current

    def workflows(self) -> Mapping[str, Definition]:
        return self.holder.current.definitions

    def workflow(self, name: str) -> Definition:
        return self.holder.find(name)

    def refusal(self) -> Refusal | None:
        return self.holder.refusal

    async def _on_change(self) -> None:
        self.changes += 1


def write_files(directory: Path) -> None:
    """A workflows file with one workflow, and a pack with another one."""
    for name, text in PACK.items():
        path = directory / "packs" / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "workflows.toml").write_text(MAIN)


def workflow(name: str, role: str = "devops", action: str | None = None) -> str:
    """A document with one stage."""
    return f"ref: {name}\ntasks:\n  - name: work\n    action: {action or role + '.work'}\n"
