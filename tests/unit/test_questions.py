"""What a question or an approval asks for is shown where people look, with what fits."""

import json
import shlex

import pytest

from sagabus.core.definition import Approval, Stage
from sagabus.core.examples import example_of
from sagabus.definitions.json_schema import Schema
from sagabus.testing import rehearse
from sagabus.views.causes import Surroundings
from sagabus.views.instances import instance_of
from sagabus.views.why import causes_of
from tests.unit.core.scene import Scene, sequence, stage

NODES = {
    "type": "object",
    "required": ["nodes"],
    "properties": {"nodes": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
}


def asking(schema: dict | None) -> Scene:
    form = None if schema is None else Schema(schema)
    return Scene(sequence(Stage("ask", (), "core.inquiry", kind="inquiry", form=form))).start()


def next_of(scene: Scene) -> str:
    [cause] = causes_of(scene.state, scene.definition, Surroundings())
    return cause.remedy_for("i1")


def waiting_stage(scene: Scene) -> dict:
    [stage] = instance_of(scene.row, scene.definition).model_dump(by_alias=True)["stages"]
    return stage


def test_the_document_of_an_instance_has_the_form_and_an_example() -> None:
    gate = waiting_stage(asking(NODES))["approval"]
    assert (gate["schema"], gate["example"]) == (NODES, {"nodes": 1})
    gate = waiting_stage(asking(None))["approval"]
    assert (gate["schema"], gate["example"]) == (None, None)


def test_what_is_said_to_people_is_an_answer_that_is_taken() -> None:
    scene = asking(NODES)
    assert next_of(scene) == """sagabus answer i1 ask --data '{"nodes":1}'"""
    *_, data = shlex.split(next_of(scene))
    assert scene.answer("ask", json.loads(data)).ok


def test_a_question_without_a_form_has_no_example() -> None:
    assert next_of(asking(None)) == "sagabus answer i1 ask --data JSON"


def test_names_in_an_answer_are_not_taken_for_the_instance() -> None:
    schema = {"type": "object", "properties": {"ID": {"type": "string", "default": "it's"}}}
    *_, data = shlex.split(next_of(asking(schema)))
    assert json.loads(data) == {"ID": "it's"}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "boolean"}, True),
        ({"type": "string"}, "TEXT"),
        ({"type": "string", "minLength": 6}, "TEXT--"),
        ({"type": "string", "maxLength": 2}, "TE"),
        ({"type": "string", "format": "date"}, "2030-01-31"),
        ({"type": ["integer", "null"], "minimum": 3.0}, 3),
        ({"type": "number", "exclusiveMinimum": 0.5}, 1.5),
        ({"type": "integer", "maximum": -4}, -4),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"enum": ["small", "large"]}, "small"),
        ({"const": 4}, 4),
        ({"type": "integer", "default": 9}, 9),
        ({"type": "string", "examples": ["eu-1"]}, "eu-1"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "minItems": 2.0, "items": {"const": "a"}}, ["a", "a"]),
        ({"type": "array", "maxItems": 0}, None),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"allOf": [NODES, {"required": ["note"]}]}, {"nodes": 1, "note": "TEXT"}),
        ({"$ref": "#/$defs/size", "$defs": {"size": {"enum": ["s"]}}}, "s"),
        ({"type": "object"}, {}),
        ({"type": "object", "required": ["any"]}, {"any": "TEXT"}),
        ({"type": "object", "properties": {"a": True}}, {"a": "TEXT"}),
        # None is known: what is said is left to the schema.
        ({"type": "string", "pattern": "^[0-9]+$"}, None),
        ({"not": {}}, None),
        ({"type": "array", "minItems": 100_000, "items": {"type": "array"}}, None),
        ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, None),
        ({"allOf": [{"$ref": "#"}]}, None),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, None),
    ],
)
def test_an_example_fits_or_there_is_none(schema: dict, example: object) -> None:
    assert example_of(Schema(schema)) == example


def test_a_rehearsal_prints_what_a_question_asks(tmp_path) -> None:
    config = tmp_path / "workflows.toml"
    config.write_text(
        """
[[workflows]]
name = "resize"
parameters = {what = {type = "string"}}
[[workflows.stages]]
name = "ask"
action = "core.inquiry"
input = {prompt = "How many {{ parameters.what }}?", schema = {type = "integer"}}
"""
    )
    rendered = '{"prompt":"How many nodes?","schema":{"type":"integer"}}'
    open_ = rehearse(config, "resize", {"what": "nodes"})
    assert rendered in str(open_)
    answered = rehearse(config, "resize", {"what": "nodes"}, outcomes={"ask": {"answer": 3}})
    assert rendered in str(answered)
    assert answered.input("ask")["schema"] == {"type": "integer"}


def test_who_is_missing_and_who_has_approved_is_shown_and_what_each_fills_in() -> None:
    gate = Approval(approvers=3, self_approval=False, form=Schema(NODES))
    scene = Scene(sequence(stage("ship", approval=gate)))
    scene.row.started_by = "eve"
    scene.start()
    [cause] = causes_of(scene.state, scene.definition, Surroundings())
    assert cause.title.endswith("waits for 3 approvals")
    assert cause.detail == ", by somebody else than eve"
    assert next_of(scene).startswith("""sagabus approve i1 ship --data '{"nodes":1}'""")
    assert scene.approve("ship", data={"nodes": 2}).ok
    assert scene.approve("ship", by="bob", data={"nodes": 3}).ok
    [cause] = causes_of(scene.state, scene.definition, Surroundings())
    assert cause.title.endswith("waits for 1 more approval")
    assert cause.detail == ", by somebody else than ann, bob, eve"
    shown = waiting_stage(scene)["approval"]
    assert (shown["schema"], shown["example"]) == (NODES, {"nodes": 1})
    assert (shown["approvers"], shown["missing"], shown["self_approval"]) == (3, 1, False)
    bob = {"by": "bob", "at": scene.at, "reason": "because", "data": {"nodes": 3}}
    assert shown["approvals"][1] == bob
    assert shown["decision"] is None


def test_numbers_that_no_example_reaches_do_no_harm() -> None:
    """What waits is shown all the same, and what does not fit is refused."""
    form = Schema({"type": "integer", "minimum": 1.7e308, "multipleOf": 1e-300})
    assert example_of(form) is None
    scene = Scene(sequence(stage("ship", approval=Approval(form=form)))).start()
    assert "does not fit" in scene.approve("ship", data="x").message
