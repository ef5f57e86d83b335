"""A configuration with packs, in files of a test's own."""

from pathlib import Path

from sagabus.definitions.catalog import Catalog, validate


class Files:
    """A configuration with packs, in a directory of its own."""

    def __init__(self, root: Path):
        self.root = root
        self.main = root / "w.toml"
        self.main.write_text("")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pack(self, **parts: str) -> None:
        """The pack ``p``; ``actions__get`` is its file ``actions/get.yaml``."""
        self.write("packs/p/pack.yaml", "ref: p\n")
        for name, text in parts.items():
            self.write(f"packs/p/{name.replace('__', '/')}.yaml", text)

    def problems(self, path: Path | None = None) -> list[str]:
        found = validate([path or self.main]).problems
        return [str(problem).replace(f"{self.root}/", "") for problem in found]

    def catalog(self) -> Catalog:
        return Catalog.load(self.main)
