"""The definitions of this directory: what each is there to show, and how it is to go.

Beside ``name.toml`` or ``name.yaml``, whose main workflow is called ``name``, stand scripts in
``name.test.yaml``. What they expect was written from the language's specification by hand.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sagabus.adapters.cedar import CedarPolicies
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.toml_file import read_toml
from sagabus.definitions.yaml_pack import read_workflows
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.script import Script
from sagabus.rehearsal.simulator import Rehearsed, rehearse

HERE = Path(__file__).parent
SCRIPT_SUFFIX = ".test.yaml"
#: Keys that have something to say to each other, as ``# pair: loop x join`` says in a definition.
PAIRS = (
    *("join x failure", "loop x with_items", "retry x timeout", "parallel x compensation"),
    *("sub-workflow x cancel", "decision x handled failure", "when x join"),
    *("partial fan-out x compensation", "loop x join"),
)
_PAIR = re.compile(r"^# pair: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """One script of one definition."""

    path: Path
    script: Script
    number: int

    @property
    def id(self) -> str:
        name = re.sub(r"\W+", "_", self.script.name).strip("_")
        return f"{self.path.stem}-{name or self.number}"

    @property
    def workflow(self) -> str:
        return self.script.workflow or self.path.stem

    def rehearse(self) -> Rehearsed:
        """Run it on paper."""
        catalog = catalog_of(self.path)
        return rehearse(catalog.get(self.workflow), self.script, catalog.get)


@cache
def catalog_of(path: Path) -> Catalog:
    """The definition, with its policies and packs.

    One for all of its scripts: what an instance leaves behind in it would be seen by the next.
    """
    return Catalog.load(path, CedarPolicies.load)


def definitions() -> list[Path]:
    """Every definition."""
    found = [*HERE.glob("*.toml"), *HERE.glob("*.yaml")]
    return sorted(path for path in found if not path.name.endswith(SCRIPT_SUFFIX))


def scripts_of(path: Path) -> Path:
    """Where the scripts of a definition stand."""
    return path.with_name(path.stem + SCRIPT_SUFFIX)


def cases_of(path: Path) -> list[Case]:
    """Every script of a definition."""
    scripts = read_scripts(scripts_of(path))
    return [Case(path, script, number) for number, script in enumerate(scripts, 1)]


def all_cases() -> list[Case]:
    """Every script of every definition."""
    return [case for path in definitions() for case in cases_of(path)]


def pairs_of(path: Path) -> list[str]:
    """Which pairs a definition is there for."""
    return _PAIR.findall(path.read_text(encoding="utf-8"))


def written_workflows(path: Path) -> Iterator[dict[str, Any]]:
    """The workflows of a definition as they were written, in the words of the models."""
    data = read_toml(path).data if path.suffix == ".toml" else read_workflows(path).source.data
    yield from data["workflows"]
