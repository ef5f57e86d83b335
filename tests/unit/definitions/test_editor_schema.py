"""The schema for editors: it fits what the reader takes, explains every key, and is up to date."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from jsonschema import Draft202012Validator

from sagabus.definitions import field_types, models
from sagabus.definitions.editor_schema import (
    STAGE_PATTERN,
    WORKFLOW_PATTERN,
    as_text,
    pack_schema,
    toml_schema,
)
from sagabus.definitions.key_descriptions import DESCRIPTIONS, description_of

ROOT = Path(__file__).parents[3]
TOML = Draft202012Validator(toml_schema())
PACK = Draft202012Validator(pack_schema())

STAGE: dict[str, Any] = {"name": "build", "agents": ["builder"]}
PACK_FILE = """
ref: shop.deploy
version: 1.0
parameters: {region: {type: string, required: true}}
tasks:
  - name: checks
    type: parallel
    tasks: [{name: check_a, action: core.noop}]
    on_success: [{when: "{{ vars.x }}", do: roll_out, publish: {y: 1}}]
  - name: roll_out
    action: docker.run
    timeout: 5m
    retry: {count: 3, delay: 10, on_error: "{{ error.type == 'timeout' }}"}
    decision: [{when: true, next: check}, {default: end}]
  - {name: check, action: http.get, join: all, with_items: [1, 2]}
"""


def problems(stage: dict[str, Any], **workflow: Any) -> list[str]:
    document = {"workflows": [{"name": "w", "stages": [{**STAGE, **stage}], **workflow}]}
    return [error.message for error in TOML.iter_errors(document)]


@pytest.mark.parametrize("schema", [toml_schema(), pack_schema()], ids=["toml", "pack"])
def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path",
    [ROOT / "config" / "workflows.toml", *sorted((ROOT / "tests/cases/vapora").glob("*.toml"))],
    ids=lambda path: path.name,
)
def test_files_that_load_fit(path: Path) -> None:
    document = tomli.loads(path.read_text())
    assert not list(TOML.iter_errors(document))


def test_yaml_workflow_fits() -> None:
    assert not list(PACK.iter_errors(yaml.safe_load(PACK_FILE)))


@pytest.mark.parametrize("path", sorted((ROOT / "tests/cases/attune").glob("*.yaml")))
def test_workflows_of_the_second_seed_fit(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        assert not list(PACK.iter_errors(document))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tasks:", "stages:"),
        ("timeout:", "timeuot:"),
        ("on_success:", "on_sucess:"),
        ("do: roll_out", "to: roll_out"),
        ("ref:", "reference:"),
        ("5m", "5 minutes"),
    ],
)
def test_mistake_in_a_yaml_workflow_is_found(old: str, new: str) -> None:
    assert old in PACK_FILE
    assert list(PACK.iter_errors(yaml.safe_load(PACK_FILE.replace(old, new))))


@pytest.mark.parametrize(
    ("stage", "word"),
    [
        ({"agnets": ["a"]}, "agnets"),
        ({"name": "Build-it"}, "Build-it"),
        ({"agents": []}, "[]"),
        ({"agents": ["_core"]}, "_core"),
        ({"timeout": "soon"}, "soon"),
        ({"timeout": -1}, "-1"),
        ({"retry": {"count": 1, "cuont": 1}}, "cuont"),
        ({"approval": {"on_timeout": "ask"}}, "ask"),
        ({"approval": {"approvers": 0}}, "0"),
        ({"approval": {"form": {}}}, "form"),
        ({"classification": "harmless"}, "harmless"),
        ({"on_success": [{"do": "a", "wehn": "b"}]}, "wehn"),
        ({"on_success": 1}, "1"),
        ({"join": "some"}, "some"),
        ({"decision": [{"nxet": "a"}]}, "nxet"),
        ({"stages": [{"name": "a", "on_success": "b"}]}, "on_success"),
    ],
)
def test_mistake_in_a_stage_is_found(stage: dict[str, Any], word: str) -> None:
    [message] = problems(stage)
    assert word in message


@pytest.mark.parametrize(
    "stage",
    [
        {"timeout": 90},
        {"timeout": "1.5h"},
        {"on_success": "a"},
        {"on_success": ["a", "b"]},
        {"on_failure": [{"when": "{{ error.type == 'x' }}", "do": ["a", "b"]}]},
        {"publish": {"a": 1}},
        {"publish": [{"a": 1}, {"b": 2}]},
        {"join": 2},
        {"needs": "a"},
        {"input": {"anything": {"goes": [None]}}},
        {"when": True},
    ],
)
def test_every_way_of_writing_fits(stage: dict[str, Any]) -> None:
    assert not problems(stage)


def test_every_key_is_explained() -> None:
    tables = [
        table
        for table in vars(models).values()
        if isinstance(table, type) and issubclass(table, models.FileModel.__base__ or object)
    ]
    assert models.StageModel in tables
    missing = [
        f"{table.__name__}.{field.alias or key}"
        for table in tables
        for key, field in table.model_fields.items()
        if not description_of(table, field.alias or key)
    ]
    assert not missing


def test_what_is_explained_can_be_written() -> None:
    unknown = [
        f"{table.__name__}.{key}"
        for table, keys in DESCRIPTIONS.items()
        for key in keys
        if key not in {field.alias or name for name, field in table.model_fields.items()}
    ]
    assert not unknown


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (pattern, name)
        for pattern in (STAGE_PATTERN, WORKFLOW_PATTERN)
        for name in ["a", "a_1", "A", "a-b", "a.b", "a.b.c", "", "1a", "_a", "a" * 40, "a" * 41]
    ],
)
def test_patterns_of_names_are_those_of_the_reader(pattern: str, name: str) -> None:
    check = field_types._stage_name if pattern == STAGE_PATTERN else field_types._workflow_name
    try:
        check(name)
        is_fine = True
    except Exception:  # what pydantic makes a sentence of
        is_fine = False
    assert (re.search(pattern, name) is not None) == is_fine


def test_shipped_schema_is_up_to_date() -> None:
    shipped = (ROOT / "config" / "workflows.schema.json").read_text(encoding="utf-8")
    assert shipped == as_text(toml_schema()), (
        "run: sagabus schema --output config/workflows.schema.json"
    )
    first = (ROOT / "config" / "workflows.toml").read_text().splitlines()[0]
    assert first == "#:schema workflows.schema.json"
