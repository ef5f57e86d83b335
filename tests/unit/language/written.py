"""Workflow documents as TOML text, and back: what a person would write to see a case again."""

import json
from pathlib import Path
from typing import Any

import tomli

from sagabus.core.definition import Definition
from sagabus.definitions.load import load_config
from tests.unit.language.naive_graph import Doc


def toml_of(engine: Doc, workflow: Doc) -> str:
    """A configuration file with one workflow."""
    lines = ["[engine]", *_pairs(engine), "", "[[workflows]]"]
    lines += _pairs({key: each for key, each in workflow.items() if key != "stages"})
    for stage in workflow["stages"]:
        lines += ["", "[[workflows.stages]]", *_pairs(stage)]
    return "\n".join(lines) + "\n"


def read(text: str) -> tuple[Doc, Doc]:
    """The engine table and the one workflow of a file."""
    data = tomli.loads(text)
    [workflow] = data["workflows"]
    return data.get("engine", {}), workflow


def compiled(text: str, directory: Path) -> tuple[Definition | None, list[str]]:
    """What the loader makes of a file, and everything that it finds wrong."""
    path = directory / "workflows.toml"
    path.write_text(text)
    loading = load_config(path)
    problems = [str(problem) for problem in loading.problems]
    return next(iter(loading.definitions.values()), None), problems


def _pairs(table: Doc) -> list[str]:
    return [f"{key} = {_inline(value)}" for key, value in table.items()]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)
