"""What must be true of whatever is read, however it is damaged."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sagabus.definitions.catalog import Catalog
from sagabus.errors import InvalidConfigError, InvalidRequestError
from sagabus.rehearsal import simulator
from sagabus.rehearsal.report import lines_of
from sagabus.rehearsal.script import Script
from tests.support.slowness import REFERENCE_S, piece_of_work

_T = TypeVar("_T")

#: Processor time for one file, on a machine as quick as the one that ``REFERENCE_S`` is of.
LIMIT_S: Final = 1.0
MAX_LINES: Final = 200
MAX_EVENTS: Final = 2_000


#: Where no line says more than the file does.
_OF_THE_WHOLE: Final = ("larger than", "more than", "in one file", "there is no such file")


#: Of the processor alone, whoever else uses it.
SLOWNESS: Final = max(1.0, min(piece_of_work(time.thread_time) for _ in range(5)) / REFERENCE_S)


def within(limit_s: float, work: Callable[[], _T]) -> _T:
    """What ``work`` gives; it takes no longer than ``limit_s``, on a quick machine."""
    began = time.thread_time()
    result = work()
    spent = time.thread_time() - began
    assert spent < limit_s * SLOWNESS, f"{spent:.2f} s"
    return result


def read(path: Path, limit_s: float = LIMIT_S) -> Catalog | InvalidConfigError:
    """The catalog, or what is wrong; anything else that is raised is a bug."""
    return within(limit_s, lambda: _loaded(path))


def _loaded(path: Path) -> Catalog | InvalidConfigError:
    try:
        return Catalog.load(path)
    except InvalidConfigError as error:
        return error


def judge(path: Path) -> Literal["loaded", "refused"]:
    """Read ``path``, and use what it defines.

    Raises:
        AssertionError: it is not refused as it should be, or what it defines cannot be used.
    """
    found = read(path)
    if isinstance(found, InvalidConfigError):
        check_refusal(found, path)
        return "refused"
    for warning in found.warnings:
        check_text(str(warning))
    assert len(found.warnings) <= MAX_LINES
    within(4 * LIMIT_S, lambda: _use(found))
    return "loaded"


def check_refusal(error: InvalidConfigError, path: Path) -> None:
    """Every problem is one line, which names the file, and can be shown in a terminal."""
    text = str(error)
    lines = text.split("\n")
    assert error.problems
    assert len(lines) <= MAX_LINES
    for line in lines:
        check_text(line)
    for problem in error.problems:
        assert problem.path
        assert Path(problem.path).is_relative_to(path.parent)
    assert len(text) < 400_000
    has_line = any(problem.line for problem in error.problems)
    assert has_line or any(what in text for what in _OF_THE_WHOLE), text


def check_text(text: str) -> None:
    """One line of what a terminal shows, and nothing that it obeys."""
    assert text
    assert text.isprintable(), ascii(text)
    assert "Traceback" not in text
    assert " object at 0x" not in text


def _use(catalog: Catalog) -> None:
    for name, definition in list(catalog.definitions.items())[:10]:
        assert definition.name == name
        given: dict[str, Any] = {}
        if definition.parameters is not None:
            given = {
                each: _any_value(definition.parameters.table[each]) for each in _needed(definition)
            }
        script = Script(parameters=given)
        try:
            rehearsed = simulator.rehearse(definition, script, catalog.get)
        except InvalidRequestError:  # what was given does not fit, or a loop without end
            continue
        assert list(lines_of(rehearsed, None))


def _needed(definition: Any) -> tuple[str, ...]:
    return tuple(definition.parameters.required)


def _any_value(declared: Any) -> Any:
    values = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": ["x"]}
    kind = declared.get("type")
    return values.get(kind, {}) if isinstance(kind, str) else "x"
