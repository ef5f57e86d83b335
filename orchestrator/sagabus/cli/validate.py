"""``sagabus validate``: everything that is wrong with workflows files, at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from sagabus.adapters.cedar import CedarPolicies
from sagabus.cli.output import clean, say, say_json
from sagabus.definitions.catalog import validate
from sagabus.errors import ConfigError, DefinitionError


def run(files: Sequence[Path], *, is_json: bool) -> int:
    """Check the files; the exit code."""
    report = validate(files, CedarPolicies.load)
    if is_json:
        say_json(
            {
                "valid": report.is_valid,
                "problems": [_document(problem) for problem in report.problems],
                "warnings": [_document(warning) for warning in report.warnings],
            }
        )
    else:
        for problem in report.problems:
            say(Text("error   ", style="red").append(clean(problem), style="default"))
        for warning in report.warnings:
            say(Text("warning ", style="yellow").append(clean(warning), style="default"))
        say(_summary(files, len(report.problems), len(report.warnings)))
    return 0 if report.is_valid else 1


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
