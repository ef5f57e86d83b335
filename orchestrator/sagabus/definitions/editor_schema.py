"""JSON Schema of the files that operators write, for editors; made from the models.

What editors cannot know (whether a target exists, whether a template compiles) is for ``validate``.
"""

import inspect
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from sagabus.core.durations import UNITS
from sagabus.definitions import models
from sagabus.definitions.field_types import MAX_STAGE_NAME
from sagabus.definitions.key_descriptions import description_of
from sagabus_agents.wire import ROLE_PATTERN

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
STAGE_PATTERN: Final = rf"^[a-z][a-z0-9_]{{0,{MAX_STAGE_NAME - 1}}}$"
WORKFLOW_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})?$"
_DURATION: Final = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?({'|'.join(UNITS)})$"},
    ]
}
_ROLES: Final = {"items": {"type": "string", "pattern": ROLE_PATTERN}}
#: What the models check with functions, by model and key: added to what pydantic says.
_CHECKED: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("ChildModel", "name"): {"pattern": STAGE_PATTERN},
    ("WorkflowModel", "name"): {"pattern": WORKFLOW_PATTERN},
    ("WorkflowModel", "version"): {"type": ["string", "number"]},
    ("ChildModel", "agents"): _ROLES,
    ("ChildModel", "compensation_agents"): _ROLES,
}
#: What packs call a key of the models.
PACK_WORDS: Final[Mapping[tuple[str, str], str]] = {
    ("WorkflowModel", "name"): "ref",
    ("WorkflowModel", "stages"): "tasks",
    ("StageModel", "stages"): "tasks",
}
_MODELS: Final = {
    name: model
    for name, model in inspect.getmembers(models, inspect.isclass)
    if issubclass(model, BaseModel)
}

Schema = dict[str, Any]


def toml_schema() -> Schema:
    """The schema of ``workflows.toml``."""
    return _schema(models.FileModel, "A workflows file of sagabus", {})


def pack_schema() -> Schema:
    """The schema of a workflow file in a pack."""
    schema = _schema(models.WorkflowModel, "A workflow of a sagabus pack", PACK_WORDS)
    # It may call itself by either word.
    schema["properties"]["name"] = schema["properties"]["ref"]
    schema["required"] = [key for key in schema["required"] if key != "ref"]
    schema["oneOf"] = [{"required": ["ref"]}, {"required": ["name"]}]
    return schema


def as_text(schema: Schema) -> str:
    """A schema as it stands in a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel], title: str, words: Mapping[tuple[str, str], str]) -> Schema:
    made = model.model_json_schema(mode="validation")
    parts = made.pop("$defs")
    whole = _table(model.__name__, made, words)
    tables = {name: _table(name, part, words) for name, part in sorted(parts.items())}
    return {"$schema": DIALECT, **whole, "title": title, "$defs": tables}


def _table(name: str, part: Schema, words: Mapping[tuple[str, str], str]) -> Schema:
    """The schema of one model's table."""
    model = _MODELS[name]
    families = [one.__name__ for one in model.__mro__]

    def word(key: str) -> str:
        return next((words[one, key] for one in families if (one, key) in words), key)

    properties = {
        word(key): _property(model, families, key, value)
        for key, value in part.get("properties", {}).items()
    }
    table: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "description": _sentence(model),
    }
    if required := part.get("required"):
        table["required"] = [word(key) for key in required]
    return table


def _property(model: type[BaseModel], families: list[str], key: str, value: Schema) -> Schema:
    found: Schema = _plain(value)
    for family in families:
        found |= _CHECKED.get((family, key), {})
    if description := description_of(model, key):
        found["description"] = description
    default = model.model_fields[_field_of(model, key)].get_default(call_default_factory=True)
    if "default" in value and isinstance(default, bool | int | str) and default != "":
        found["default"] = default
    return found


def _field_of(model: type[BaseModel], key: str) -> str:
    """The field that is written as ``key``."""
    named = (name for name, field in model.model_fields.items() if field.alias == key)
    return next(named, key)


def _plain(value: Any) -> Any:
    """Without titles, defaults and nulls; durations as they are written."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("format") == "duration":
        return dict(_DURATION)
    kept = {key: _plain(one) for key, one in value.items() if key not in {"title", "default"}}
    choices = [one for one in kept.get("anyOf", []) if one != {"type": "null"}]
    if len(choices) == 1:
        del kept["anyOf"]
        return kept | choices[0]
    return kept | ({"anyOf": choices} if choices else {})


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split()).replace("``", "`")
