"""Promises about the repository as a whole, read from its files."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {".git", ".venv", ".sagabus", "__pycache__", "build", "dist", "node_modules"}
MAX_LINES = 350

# Written so that this file does not find itself.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.}])/(?:work|home|root|Users|tmp|mnt)/\w",
    "a package registry": r"pypi[.]|pythonh[o]sted|npm[j]s|crates[.]io|[-]index-url|find-[l]inks",
    "an unfinished thought": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b",
}


@cache
def our_files() -> list[Path]:
    def walk(directory: Path) -> Iterator[Path]:
        for entry in sorted(directory.iterdir()):
            if entry.name in NOT_OURS or entry.name.endswith("_cache"):
                continue
            if entry.is_dir():
                yield from walk(entry)
            else:
                yield entry

    return list(walk(ROOT))


def python_files(*directories: str) -> list[Path]:
    return [
        path
        for path in our_files()
        if path.suffix == ".py"
        and (not directories or path.relative_to(ROOT).parts[0] in directories)
    ]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in our_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{place(path, number)}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_a_long_module_says_in_its_docstring_why_it_is_one_file() -> None:
    found = []
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        length = len(text.splitlines())
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if length > MAX_LINES and "one file" not in docstring.lower():
            found.append(f"{path.relative_to(ROOT)}: {length} lines")
    assert not found, "no reason given ('one file, because ...'):\n" + "\n".join(found)


def test_every_import_stands_at_the_top_of_its_file() -> None:
    found = []
    for path in python_files("orchestrator", "agents"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += [
                    place(path, inner.lineno)
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Import | ast.ImportFrom)
                ]
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                found.append(place(path, node.lineno))
    assert not found, "\n".join(found)


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {normalized(re.split(r"[\s<>=!~\[;]", requirement)[0]) for requirement in wanted}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """What the file cannot do without; an import that may fail is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    optional = {
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("ImportError" in ast.unparse(handler.type or node) for handler in node.handlers)
        for statement in node.body
    }
    for node in ast.walk(tree):
        if node in optional:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


@pytest.mark.parametrize(
    ("directories", "extras"),
    [
        (("agents",), ()),
        (("orchestrator",), ("orchestrator", "testing")),
        (("tests", "benchmarks"), ("orchestrator", "dev")),
    ],
    ids=["agents", "orchestrator", "tests"],
)
def test_what_is_imported_is_declared(
    directories: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    allowed = declared(*extras)
    distributions = packages_distributions()
    # pydantic pins pydantic_core and documents imports from it.
    known = sys.stdlib_module_names | {"sagabus", "sagabus_agents", "tests", "pydantic_core"}
    found = []
    for path in python_files(*directories):
        beside = {each.stem for each in path.parent.glob("*.py")}  # actions of one pack
        for module, line in imported(path):
            providers = {normalized(name) for name in distributions.get(module, [])}
            if module not in known | beside and not providers & allowed:
                found.append(f"{place(path, line)}: {module}")
    assert not found, "\n".join(found)
