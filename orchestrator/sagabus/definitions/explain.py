"""Turns what pydantic found into sentences for operators, each with its file and line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sagabus.definitions.keys import TABLES, nearest, words_of
from sagabus.definitions.shown import shown
from sagabus.definitions.source_file import KeyPath, SourceFile
from sagabus.definitions.syntax import in_syntax, unknown_among, unknown_in
from sagabus.errors import DefinitionError

#: Mistakes of one table, with all in it, that are worth telling.
_MAX_PROBLEMS: Final = 100
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
        around = list(self._tables_around())
        names = [name for _, _, name in around]
        key = self.source.shown(self.path, around[-1][1] if around else 0)
        # A stage's name is unique in its workflow: the block around it need not be named.
        subject = ", ".join(f'{word} "{name}"' for word, _, name in (*around[:1], *around[1:][-1:]))
        said = in_syntax(message, self.source.syntax)
        text = said if is_whole or not key else f"`{key}`: {said}"
        return DefinitionError(
            f"{subject}: {text}" if subject else text,
            path=self.source.path,
            line=self.source.line(self.path),
            workflow=names[0] if names else None,
            stage=names[-1] if len(names) > 1 else None,
            key=key or None,
        )

    def _tables_around(self) -> Iterator[tuple[str, int, str]]:
        """The workflow, the stage and the stage of a block that this is in.

        What the file calls such a thing, where the path goes on behind it, and its name, or its
        number where it has none.
        """
        word = "workflow"
        for start in range(0, len(self.path) - 1, 2):
            key, index = self.path[start : start + 2]
            if key != ("stages" if start else "workflows") or not isinstance(index, int):
                return
            name = _follow(self.source.data, (*self.path[: start + 2], "name"))
            yield word, start + 2, name if isinstance(name, str) else f"#{index + 1}"
            word = "task" if self.source.syntax == "yaml" else "stage"


def explain(
    error: ValidationError, place: Place, model: type[BaseModel] | None = None
) -> list[DefinitionError]:
    """Every mistake that ``error`` holds, ``_MAX_PROBLEMS`` at most, of the model at ``place``.

    ``model``: where it is none of a workflows file; its tables hold no other tables.
    """
    known = None if model is None else words_of(model)
    mistakes = _unguessed(error.errors(include_url=False), place, known)
    found = [_explain(details, place, known) for details in mistakes[:_MAX_PROBLEMS]]
    if len(mistakes) > _MAX_PROBLEMS:
        found.append(
            place.error(f"... and {len(mistakes) - _MAX_PROBLEMS} more mistakes like these")
        )
    return found


def _unguessed(
    mistakes: list[ErrorDetails], place: Place, known: tuple[str, ...] | None
) -> list[ErrorDetails]:
    """``mistakes`` without the keys that are missing only because they are misspelt.

    A block in a block is one mistake, though it takes two keys.
    """
    inner = {one["loc"][:-1] for one in mistakes if _is_unknown(one, "type")}
    mistakes = [
        one for one in mistakes if not (_is_unknown(one, "stages") and one["loc"][:-1] in inner)
    ]
    if all(one["type"] != "missing" for one in mistakes) or len(mistakes) > _MAX_PROBLEMS:
        return mistakes
    misspelt = {
        (*around, nearest(str(last), known or words_of(TABLES[_words(place.at(*around).path)])))
        for *around, last in (one["loc"] for one in mistakes if one["type"] == "extra_forbidden")
    }
    return [one for one in mistakes if one["type"] != "missing" or one["loc"] not in misspelt]


def _is_unknown(one: ErrorDetails, key: str) -> bool:
    return one["type"] == "extra_forbidden" and one["loc"][-1] == key


def _words(path: Iterable[str | int]) -> tuple[str, ...]:
    return tuple(key for key in path if isinstance(key, str))


def _explain(details: ErrorDetails, place: Place, known: tuple[str, ...] | None) -> DefinitionError:
    kind, context = details["type"], details.get("ctx", {})
    here = place.at(*details["loc"], *context.get("path", ()))
    last = here.path[-1] if here.path else ""
    match kind:
        case "extra_forbidden":
            return here.error(_unknown(here, known), is_whole=True)
        case "missing":
            # The table's own line: the key has none.
            example = ' = ["role"]' if last == "agents" else ""
            word = here.source.words.get(here.path, last)
            return here.error(
                f"`{word}` is missing; write {word}{example or ' = ...'}", is_whole=True
            )
        case "sagabus":
            return here.error(details["msg"], is_whole=details["msg"].startswith("`"))
        case "literal_error":
            return here.error(f"{shown(details['input'])} is none of {context['expected']}")
        case "too_long":
            return here.error(
                f"has {context['actual_length']} entries; at most {context['max_length']}"
            )
        case "too_short":
            return here.error("is empty; write at least one entry")
        case "greater_than_equal":
            return here.error(f"{shown(details['input'])} is too small; at least {context['ge']}")
        case "less_than_equal":
            return here.error(f"{shown(details['input'])} is too large; at most {context['le']}")
        case _ if kind in _WANTED:
            return here.error(_wrong_kind(here, kind, details["input"]))
        case _:
            return here.error(details["msg"])


def _unknown(here: Place, known: tuple[str, ...] | None) -> str:
    *around, last = here.path
    if known is not None:
        return unknown_among(str(last), known)
    return unknown_in(_words(around), str(last), here.source.syntax)


def _wrong_kind(here: Place, kind: str, value: Any) -> str:
    place = _words(here.path)
    is_toml = here.source.syntax == "toml"
    if isinstance(value, dict) and kind == "list_type" and place in TABLES:
        written = f"[[{'.'.join(place)}]]" if is_toml else "a dash before each of them"
        return f"is one table where a list of tables belongs; write {written}"
    return f"{shown(value)} does not fit; write {_WANTED[kind]}"


def _follow(data: Any, path: KeyPath) -> Any:
    for key in path:
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data
