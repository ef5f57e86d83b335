"""The settings of a pack: values, defaults, and what is said of their mistakes."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

from pathlib import Path

import pytest

from sagabus.definitions.catalog import validate
from tests.support.pack_files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    "schema",
    [
        "{a: {type: string, default: x}, b: {type: integer, required: true}, c: {type: string}}",
        "{type: object, required: [b], properties: {a: {type: string, default: x}, b: {type: integer}, c: {type: string}}}",
    ],
)  # fmt: skip
def test_settings_are_the_values_and_the_defaults(files: Files, schema: str):
    files.pack(config=f"schema: {schema}\nvalues: {{b: 2}}")
    assert files.catalog().packs["p"].config == {"b": 2, "a": "x"}


def test_settings_without_schema_are_taken_as_they_are(files: Files):
    files.pack(config="values: {a: {b: [1, on]}}")
    assert files.catalog().packs["p"].config == {"a": {"b": [1, "on"]}}


def test_a_secret_among_the_settings_is_doubtful(files: Files):
    files.pack(config="schema: {key: {type: string, secret: true}}\nvalues:\n  key: hunter2")
    [warning] = [one for one in validate([files.main]).warnings if "secret" in one.message]
    assert warning.line == 3
    assert "hunter2" not in str(warning)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("schema:\n  a: {type: string, required: true}", ["2: `a` is required and not set; write it under `values:`"]),
        ("schema:\n  a: {type: integer}\nvalues:\n  a: x\n  b: 1", ["4: `values.a`: 'x' does not fit; write a whole number", "5: `values.b`: is no setting of this pack; there are a"]),
        ("schema:\n  a:\n    type: strng", ["3: `schema.a.type`: 'strng' is not a type; did you mean \"string\"?"]),
        ("schema:\n  a: {type: integer, default: x}", ["2: `schema.a.default`: does not fit parameter `a` itself: 'x' does not fit; write a whole number"]),
        ("schema:\n  a: text", ["2: `schema.a`: does not fit; write a table, as in {type: string}"]),
        ("shema: {}\nvalues: []", ['1: unknown key `shema`; did you mean "schema"?', "2: `values`: [] does not fit; write a table, as in {key: value}"]),
        ("values: {a: .inf}", ["1: `values.a`: inf is not a number that JSON has"]),
        ("- 1", ["1: does not fit; write keys with values"]),
        ("a: 1\n---\nb: 1", ["3: one document belongs here; split the file"]),
        ("a: [", ["1: not valid YAML: did not find expected node content"]),
    ],
)  # fmt: skip
def test_every_mistake_in_the_settings_has_its_line(files: Files, config: str, said: list[str]):
    files.pack(config=config)
    found = [one.removeprefix("packs/p/config.yaml:") for one in files.problems()]
    assert found == said
