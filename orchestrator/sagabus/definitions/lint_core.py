"""What the built-in actions take: the question of ``core.inquiry``, the time of ``core.sleep``."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from sagabus.core.definition import StageKind
from sagabus.core.durations import parse_duration
from sagabus.definitions.json_schema import SchemaPath, schema_problems
from sagabus.definitions.keys import did_you_mean
from sagabus.definitions.models import ChildModel
from sagabus.definitions.template_names import texts_of

_QUESTION: Final = ("prompt", "schema", "timeout")
_SLEEP: Final = ("seconds", "duration", "until")


def core_problems(stage: ChildModel, kind: StageKind) -> Iterator[tuple[SchemaPath, str]]:
    """What is wrong with the input of a built-in action: where in the stage, and a sentence."""
    if kind == "inquiry":
        yield from _question_problems(stage, stage.input or {})
    elif stage.action == "core.sleep" and stage.input is not None:
        yield from _sleep_problems(stage.input)


def _question_problems(
    stage: ChildModel, asked: dict[str, Any]
) -> Iterator[tuple[SchemaPath, str]]:
    yield from _unknown_keys(asked, _QUESTION)
    if not isinstance(asked.get("prompt", ""), str):
        yield ("input", "prompt"), "does not fit; write text"
    if "schema" in asked:
        for path, problem in form_problems(asked["schema"]):
            yield ("input", "schema", *path), problem
    if "timeout" in asked:
        if stage.timeout is not None:
            yield ("timeout",), "the input has a timeout, too; leave one of them out"
        yield from _duration_problems(asked["timeout"], "timeout")


def form_problems(schema: Any) -> Iterator[tuple[SchemaPath, str]]:
    """What is wrong with what people are to fill in: where in ``schema``, and a sentence."""
    yield from schema_problems(schema)
    for path, _ in texts_of(schema):
        yield path, "expressions are not evaluated here; write plain text"


def _sleep_problems(given: dict[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    yield from _unknown_keys(given, _SLEEP)
    known = [key for key in _SLEEP if key in given]
    if not given:
        example = '{duration = "5m"}, or {until = "2030-01-31T12:00Z"}'
        yield ("input",), f"write how long, as in {example}"
    if len(known) > 1:
        yield ("input",), f"{' and '.join(known)} each say how long; keep one of them"
    for key in known:
        if next(texts_of(given[key]), None) is not None:
            continue  # known when it is evaluated
        if key == "until":
            yield from _instant_problems(given[key], key)
        else:
            yield from _duration_problems(given[key], key)


def _instant_problems(value: Any, key: str) -> Iterator[tuple[SchemaPath, str]]:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        yield ("input", key), f"{value!r} is no instant; write one as in 2030-01-31T12:00:00Z"


def _duration_problems(value: Any, key: str) -> Iterator[tuple[SchemaPath, str]]:
    try:
        parse_duration(value)
    except ValueError as error:
        yield ("input", key), str(error)


def _unknown_keys(
    given: dict[str, Any], known: tuple[str, ...]
) -> Iterator[tuple[SchemaPath, str]]:
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            yield ("input", key), f"is not known here{hint}"
