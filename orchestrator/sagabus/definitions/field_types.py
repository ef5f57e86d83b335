"""The kinds of single values that keys of a definition take, each with its own sentence.

A short way of writing (a text for a list of one) is made long here, so that a stored snapshot has
one form and the compiler sees no other.
"""

import math
import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from sagabus.definitions.durations import Duration
from sagabus.definitions.shown import shown
from sagabus_agents.wire import ROLE_PATTERN

#: Task ids, made of the stage's name and numbers, have 64 characters.
MAX_STAGE_NAME: Final = 40
#: Entries of a list of targets, of routes or of a decision.
MAX_TARGETS: Final = 500
#: People whom one approval may need.
MAX_APPROVERS: Final = 20
#: Tables in one ``publish``.
_MAX_PUBLISHED: Final = 100
_SHORTEST_KEEPING: Final = timedelta(seconds=1)
_STAGE_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_STAGE_NAME - 1}}}")
_WORKFLOW_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})?")
_ACTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_ONE_OR_MORE: Final = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
}


def refused(message: str, path: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """A problem, at ``path`` of the value, whose text is shown to the operator as it is."""
    return PydanticCustomError("sagabus", "{message}", {"message": message, "path": path})


def is_role(value: str) -> bool:
    """True when agents can serve under this name."""
    return re.fullmatch(ROLE_PATTERN, value) is not None and "\n" not in value


def _stage_name(value: str) -> str:
    if _STAGE_NAME.fullmatch(value):
        return value
    proposal = re.sub(r"[^a-z0-9_]+", "_", value.lower()).strip("_")[:MAX_STAGE_NAME]
    hint = f'; write "{proposal}"' if _STAGE_NAME.fullmatch(proposal) else ""
    raise refused(
        f"{value!r} is not a stage name: a lower-case letter, then letters, digits and "
        f"underscores, at most {MAX_STAGE_NAME}{hint}"
    )


def _workflow_name(value: str) -> str:
    if value.startswith("core."):
        raise refused(f"{value!r}: names that begin with core. are those of built-in actions")
    if _WORKFLOW_NAME.fullmatch(value):
        return value
    raise refused(
        f"{value!r} is not a workflow name; write letters, digits, underscores and hyphens, "
        "at most 64, with one dot between a pack and its workflow"
    )


def _role(value: str) -> str:
    if is_role(value):
        return value
    raise refused(
        f"{value!r} is not a role; write letters, digits, underscores and hyphens, at most 64, "
        "without an underscore at the beginning"
    )


def _action(value: str) -> str:
    if _ACTION.fullmatch(value):
        return value
    raise refused(f"{value!r} is not an action; write letters, digits and any of _ . : / -")


def _version(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _trigger(value: Any) -> Any:
    if value == "manual":
        return value
    kind = ", ".join(map(str, value)) if isinstance(value, dict) else repr(value)
    raise refused(f'the trigger {kind} is not built yet; write trigger = "manual"')


def json_value(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """``value``, at ``path`` of the whole, as JSON can hold it: dates and times become text.

    Raises:
        PydanticCustomError: a number that JSON does not have; its context has its ``path``.
    """
    match value:
        case dict():
            return {str(key): json_value(item, (*path, str(key))) for key, item in value.items()}
        case list():
            return [json_value(item, (*path, index)) for index, item in enumerate(value)]
        case datetime() | date() | time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            raise refused(f"{value} is not a number that JSON has", path)
        case int() if not -(2**63) <= value < 2**63:
            raise refused(f"{value} does not fit into 64 bits; write it as text", path)
        case _:
            return value


def _table(value: dict[str, Any]) -> dict[str, Any]:
    return {key: json_value(item, (key,)) for key, item in value.items()}


def _condition(value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    raise refused(
        f'{shown(value)} does not fit; write an expression, as in "{{{{ parameters.x }}}}"'
    )


def _item_list(value: Any) -> Any:
    if isinstance(value, str | list):
        return json_value(value)
    raise refused(
        f'{shown(value)} does not fit; write an expression, as in "{{{{ parameters.list }}}}"'
    )


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _join(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise refused(f'{shown(value)} does not fit; write "all", or the number of arms to wait for')


def _keeping(value: timedelta) -> timedelta:
    # Elsewhere 0 stands for "no limit", and here it would leave nothing.
    if value >= _SHORTEST_KEEPING:
        return value
    raise refused(
        "less than a second would delete every instance as it ends; leave the key out to keep "
        'them, or write a time, as in "30d"'
    )


def as_routes(value: Any) -> Any:
    """Routes in their long form: a target, or a list of targets, is one route without condition."""
    if isinstance(value, str):
        return [{"do": [value]}]
    if not isinstance(value, list):
        raise refused(
            'does not fit; write a target, as in "build", a list of targets, '
            'or a list of tables, as in [{when = "{{ ... }}", do = "build"}]'
        )
    if value and all(isinstance(item, str) for item in value):
        return [{"do": value}]
    return [{"do": [item]} if isinstance(item, str) else item for item in value]


StageName = Annotated[str, AfterValidator(_stage_name)]
WorkflowName = Annotated[str, AfterValidator(_workflow_name)]
Role = Annotated[str, AfterValidator(_role)]
Action = Annotated[str, AfterValidator(_action)]
Roles = Annotated[list[Role], Field(min_length=1, max_length=1_000)]
Version = Annotated[str, BeforeValidator(_version)]
Trigger = Annotated[str, BeforeValidator(_trigger)]
JsonTable = Annotated[dict[str, Any], AfterValidator(_table)]
#: Tables of variables, set one after the other.
PublishList = Annotated[
    list[JsonTable],
    BeforeValidator(_as_list),
    Field(max_length=_MAX_PUBLISHED),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}),
]
#: For how long something stays.
Keeping = Annotated[Duration, AfterValidator(_keeping)]
Prompt = Annotated[str, Field(max_length=2_000)]
#: Text with one expression that gives a boolean, or the boolean itself.
Condition = Annotated[
    Any, BeforeValidator(_condition), WithJsonSchema({"type": ["string", "boolean"]})
]
#: Text with one expression that gives a list, or the list itself.
ItemList = Annotated[
    Any, BeforeValidator(_item_list), WithJsonSchema({"type": ["string", "array"]})
]
#: Names of stages; whether there are such stages is for lint to say.
Targets = Annotated[
    list[str],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=MAX_TARGETS),
    WithJsonSchema(_ONE_OR_MORE),
]
Join = Annotated[
    Any,
    BeforeValidator(_join),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "integer", "minimum": 1}]}),
]
