"""What of a written script has the shape of one, and every mistake in the rest."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from sagabus.definitions.explain import Place, explain
from sagabus.definitions.source_file import SourceFile
from sagabus.errors import ConfigError
from sagabus.rehearsal.script import Expectations, Outcome, Script, ScriptedError


def sound_script(source: SourceFile, problems: list[ConfigError]) -> Script:
    """The script that ``source`` holds, as far as it is one; ``problems`` gets what is wrong.

    Names stay, whatever is wrong with what stands under them.
    """
    place = Place(source)
    data: Any = place.value
    if isinstance(data, dict):
        tables = {key: item for key, item in data.items() if isinstance(item, dict)}
        data = dict(data)
        if "outcomes" in tables:
            data["outcomes"] = _outcomes(place.at("outcomes"), problems)
        if "workflows" in tables:
            data["workflows"] = {
                name: _outcomes(place.at("workflows", name), problems)
                if isinstance(item, dict)
                else item
                for name, item in tables["workflows"].items()
            }
        if "expect" in tables:
            here = place.at("expect")
            data["expect"] = _sound(here, Expectations, here.value, problems)
    return Script.model_validate(_sound(place, Script, data, problems))


def _outcomes(place: Place, problems: list[ConfigError]) -> dict[str, Any]:
    return {name: _attempts(place.at(name), problems) for name in place.value}


def _attempts(place: Place, problems: list[ConfigError]) -> list[dict[str, Any]]:
    if not isinstance(place.value, list):
        return [_outcome(place, problems)]
    if not place.value:
        problems.append(place.error("is empty; write at least one outcome"))
        return [{}]
    return [_outcome(place.at(index), problems) for index in range(len(place.value))]


def _outcome(place: Place, problems: list[ConfigError]) -> dict[str, Any]:
    data = place.value
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        error = place.at("error")
        data = data | {"error": _sound(error, ScriptedError, error.value, problems)}
    return _sound(place, Outcome, data, problems)


def _sound(
    place: Place, model: type[BaseModel], data: Any, problems: list[ConfigError]
) -> dict[str, Any]:
    """The keys of ``data``, which stands at ``place``, that fit ``model``."""
    while True:
        try:
            model.model_validate(data)
        except ValidationError as error:
            problems += explain(error, place, model)
            wrong = {one["loc"][0] for one in error.errors(include_url=False) if one["loc"]}
            if not wrong:
                return {}
            # What is wrong with the others together shows without these alone.
            data = {key: item for key, item in data.items() if key not in wrong}
        else:
            return dict(data) if isinstance(data, Mapping) else {}
