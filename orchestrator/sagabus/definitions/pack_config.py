"""The settings of a pack: ``config.yaml`` says what can be set, and what is set."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from sagabus.definitions.explain import Place, explain
from sagabus.definitions.findings import EnoughFoundError, Findings
from sagabus.definitions.json_schema import Schema, schema_problems
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.pack_models import ConfigModel
from sagabus.definitions.parameters import object_schema, parameter_problems


def settings_at(place: Place) -> tuple[dict[str, Any], Findings]:
    """What the document at ``place`` sets, as far as it is sound, and what is wrong with it."""
    found, config = Findings(), dict[str, Any]()
    try:
        model = ConfigModel.model_validate(place.value)
    except ValidationError as error:
        found.problems += explain(error, place, ConfigModel)
    else:
        with suppress(EnoughFoundError):
            config = resolve_config(place, model, found)
    return config, found


def resolve_config(place: Place, model: ConfigModel, found: Findings) -> dict[str, Any]:
    """``pack.config``: the values, and the defaults of what is not set."""
    values = model.values or {}
    if model.declared is None:
        return values
    at, declared = _declared(place.at("schema"), model.declared, found)
    if not _is_sound(at, declared, found):
        return values
    schemas = object_schema(declared, allows_more=True)["properties"]
    here = place.at("values")
    for name, value in values.items():
        if name not in declared:
            hint = did_you_mean(name, declared) or f"; there are {', '.join(declared) or 'none'}"
            found.add(here.at(name), f"is no setting of this pack{hint}")
            continue
        is_secret = declared[name].get("secret") is True
        for problem in Schema(schemas[name], is_secret=is_secret).problems(value):
            found.add(here.at(name), problem)
        if is_secret and isinstance(value, str) and value:
            found.doubt(
                here.at(name),
                "a secret in plain text; store it, and write "
                "\"{{ kv.get_secret('KEY') }}\" in the input of the task that uses it",
            )
    return values | dict(_defaults(at, declared, values, found))


def _declared(
    place: Place, declared: Mapping[str, Any], found: Findings
) -> tuple[Place, dict[str, Any]]:
    """The settings by name, and where they stand, in either way of writing them."""
    properties = declared.get("properties")
    if declared.get("type") != "object" or not isinstance(properties, dict):
        return place, dict(declared)
    for path, problem in schema_problems(declared):
        found.add(place.at(*path), problem)
        return place, {}
    required = declared.get("required", [])
    by_name = {
        name: {"required": name in required} | one if isinstance(one, dict) else one
        for name, one in properties.items()
    }
    return place.at("properties"), by_name


def _is_sound(place: Place, declared: Mapping[str, Any], found: Findings) -> bool:
    before = len(found.problems)
    for name, one in declared.items():
        if not isinstance(one, dict):
            found.add(place.at(name), "does not fit; write a table, as in {type: string}")
            continue
        for path, problem in parameter_problems(name, one):
            found.add(place.at(name, *path), problem)
    return len(found.problems) == before


def _defaults(
    place: Place, declared: Mapping[str, Any], values: Mapping[str, Any], found: Findings
) -> Iterator[tuple[str, Any]]:
    for name, one in declared.items():
        if name in values:
            continue
        if "default" in one:
            yield name, deepcopy(one["default"])
        elif one.get("required") is True:
            found.add(
                place.at(name),
                f"`{name}` is required and not set; write it under `values:`",
                is_whole=True,
            )
