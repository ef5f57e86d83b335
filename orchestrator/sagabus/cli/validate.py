"""``sagabus validate``: everything that is wrong with workflows files, at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from sagabus.adapters.cedar import CedarPolicies
from sagabus.cli.output import clean, say, say_json
from sagabus.definitions.catalog import Report, validate
from sagabus.errors import ConfigError, DefinitionError
from sagabus.rehearsal.pack_tests import problems_of_tests

#: What would end a message, or a property of one.
_ESCAPES: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY_ESCAPES: Final = str.maketrans(
    {"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"}
)


def run(files: Sequence[Path], *, form: str) -> int:
    """Check the files; the exit code. ``form``: ``text``, ``json`` or ``github``."""
    report = validate(files, CedarPolicies.load, problems_of_tests)
    match form:
        case "json":
            say_json(
                {
                    "valid": report.is_valid,
                    "problems": [_document(problem) for problem in report.problems],
                    "warnings": [_document(warning) for warning in report.warnings],
                }
            )
        case "github":
            _say_annotations(report)
        case _:
            _say_lines(files, report)
    return 0 if report.is_valid else 1


def _say_lines(files: Sequence[Path], report: Report) -> None:
    for problem in report.problems:
        say(Text("error   ", style="red").append(clean(problem), style="default"))
    for warning in report.warnings:
        say(Text("warning ", style="yellow").append(clean(warning), style="default"))
    say(_summary(files, len(report.problems), len(report.warnings)))


def _say_annotations(report: Report) -> None:
    """Lines that GitHub shows at the place in the file.

    Source: GitHub, "Workflow commands for GitHub Actions".
    """
    for level, found in (("error", report.problems), ("warning", report.warnings)):
        for one in found:
            places = {"file": one.path, "line": one.line}
            where = ",".join(
                f"{key}={str(value).translate(_PROPERTY_ESCAPES)}"
                for key, value in places.items()
                if value is not None
            )
            say(f"::{level}{where and ' '}{where}::{clean(one.message).translate(_ESCAPES)}")


def _summary(files: Sequence[Path], problems: int, warnings: int) -> str:
    names = ", ".join(map(str, files))
    found = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((problems, "error"), (warnings, "warning"))
        if count
    ]
    return f"{names}: {' and '.join(found) or 'valid'}"


def _document(problem: ConfigError) -> dict[str, Any]:
    document: dict[str, Any] = {
        "path": problem.path,
        "line": problem.line,
        "workflow": None,
        "stage": None,
        "key": None,
        "message": problem.message,
    }
    if isinstance(problem, DefinitionError):
        document |= {
            "workflow": problem.workflow,
            "stage": problem.stage,
            "key": problem.key,
        }
    return document
