"""Turns what pydantic found into sentences for operators, each with its file and line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sagabus.definitions.keys import TABLES, unknown_key
from sagabus.definitions.toml_file import SourceFile
from sagabus.definitions.toml_positions import KeyPath
from sagabus.errors import DefinitionError

#: What to write for a value of the wrong kind, by pydantic's word for the mistake.
_WANTED: Final = {
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": 'a list, as in ["a", "b"]',
    "dict_type": "a table, as in {key = value}",
    "model_type": "a table, as in {key = value}",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere in a file: makes errors that say where."""

    source: SourceFile
    path: KeyPath = ()

    def at(self, *keys: str | int) -> "Place":
        """A place below this one."""
        return Place(self.source, (*self.path, *keys))

    @property
    def value(self) -> Any:
        """What stands there, None if nothing does."""
        return _follow(self.source.data, self.path)

    def error(self, message: str, *, is_whole: bool = False) -> DefinitionError:
        """A problem here; ``is_whole`` leaves the key's own name out of the sentence."""
        workflow = self._name(2) if self.path[:1] == ("workflows",) else None
        stage = self._name(4) if workflow and self.path[2:3] == ("stages",) else None
        key = ".".join(str(part) for part in self.path[4 if stage else 2 if workflow else 0 :])
        subject = ", ".join(
            [f'workflow "{workflow}"'] * bool(workflow) + [f'stage "{stage}"'] * bool(stage)
        )
        text = message if is_whole or not key else f"`{key}`: {message}"
        return DefinitionError(
            f"{subject}: {text}" if subject else text,
            path=self.source.path,
            line=self.source.line(self.path),
            workflow=workflow,
            stage=stage,
            key=key or None,
        )

    def _name(self, depth: int) -> str | None:
        """Name of the workflow or stage around, its number where it has none."""
        if len(self.path) < depth or not isinstance(self.path[depth - 1], int):
            return None
        name = _follow(self.source.data, (*self.path[:depth], "name"))
        return name if isinstance(name, str) else f"#{int(self.path[depth - 1]) + 1}"


def explain(error: ValidationError, place: Place) -> list[DefinitionError]:
    """Every mistake that ``error`` holds, of the model read from ``place``."""
    return [_explain(details, place) for details in error.errors(include_url=False)]


def _explain(details: ErrorDetails, place: Place) -> DefinitionError:
    here = place.at(*details["loc"])
    kind, context = details["type"], details.get("ctx", {})
    *around, last = here.path
    match kind:
        case "extra_forbidden":
            table = tuple(key for key in around if isinstance(key, str))
            return here.error(unknown_key(table, str(last)), is_whole=True)
        case "missing":
            # The table's own line: the key has none.
            example = ' = ["role"]' if last == "agents" else ""
            return here.error(
                f"`{last}` is missing; write {last}{example or ' = ...'}", is_whole=True
            )
        case "sagabus":
            return here.error(details["msg"], is_whole=details["msg"].startswith("`"))
        case "literal_error":
            return here.error(f"{_shown(details['input'])} is none of {context['expected']}")
        case "too_short":
            return here.error("is empty; write at least one entry")
        case "greater_than_equal":
            return here.error(f"{_shown(details['input'])} is too small; at least {context['ge']}")
        case "less_than_equal":
            return here.error(f"{_shown(details['input'])} is too large; at most {context['le']}")
        case _ if kind in _WANTED:
            return here.error(_wrong_kind(here.path, kind, details["input"]))
        case _:
            return here.error(details["msg"])


def _wrong_kind(path: KeyPath, kind: str, value: Any) -> str:
    place = tuple(key for key in path if isinstance(key, str))
    if isinstance(value, dict) and kind == "list_type" and place in TABLES:
        return f"is one table where a list of tables belongs; write [[{'.'.join(place)}]]"
    return f"{_shown(value)} does not fit; write {_WANTED[kind]}"


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _follow(data: Any, path: KeyPath) -> Any:
    for key in path:
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data
