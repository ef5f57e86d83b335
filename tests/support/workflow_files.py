"""Definitions from the text of a workflows file, and what is said of it."""

from pathlib import Path

from sagabus.core.definition import Definition
from sagabus.definitions.load import Loading, load_config


def load_text(tmp_path: Path, text: str) -> Loading:
    """What becomes of a file with ``text``."""
    path = tmp_path / "w.toml"
    path.write_text(text)
    return load_config(path)


def definitions_in(tmp_path: Path, text: str) -> dict[str, Definition]:
    """The definitions of a file without a fault."""
    loading = load_text(tmp_path, text)
    assert not loading.problems, "\n".join(map(str, loading.problems))
    return loading.definitions


def problems_in(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a file, by line, without its directory."""
    return _said(tmp_path, load_text(tmp_path, text).problems)


def warnings_in(tmp_path: Path, text: str) -> list[str]:
    """What is doubtful about a file without a fault."""
    loading = load_text(tmp_path, text)
    assert not loading.problems, "\n".join(map(str, loading.problems))
    return _said(tmp_path, loading.warnings)


def _said(tmp_path: Path, found: list) -> list[str]:
    by_line = sorted(found, key=lambda one: one.line or 0)
    return [str(one).removeprefix(f"{tmp_path}/") for one in by_line]
