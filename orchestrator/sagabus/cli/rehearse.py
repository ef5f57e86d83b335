"""``sagabus rehearse``: a workflow run on paper, with scripted outcomes and without servers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sagabus.cli.options import parameters_of
from sagabus.cli.output import say, say_json
from sagabus.core.definition import Definition
from sagabus.core.instance import InstanceStatus
from sagabus.definitions.catalog import Catalog
from sagabus.errors import ConfigError, InvalidConfigError, RequestError, WorkflowNotFoundError
from sagabus.rehearsal.reading import Written, read_written
from sagabus.rehearsal.report import document_of, lines_of, never_used, unmet
from sagabus.rehearsal.script import Script
from sagabus.rehearsal.simulator import Rehearsed, rehearse, undo


@dataclass(frozen=True, slots=True)
class _Done:
    name: str
    rehearsed: Rehearsed
    undone: Rehearsed | None
    #: What is not as expected.
    problems: list[str]


def run(
    name: str | None,
    *,
    file: Path,
    outcomes: Path | None,
    pairs: Sequence[str],
    is_json: bool,
) -> int:
    """Rehearse every script of ``outcomes``; the exit code: 1 when an expectation is not met.

    Raises:
        InvalidConfigError: what is wrong with scripts, after the others were rehearsed.
    """
    catalog = Catalog.load(file)
    if outcomes is None:
        definition = catalog.get(name or _only(catalog))
        done = [_rehearse(definition, Script(), pairs, catalog)]
        wrong: list[ConfigError] = []
    else:
        done, wrong = _rehearse_all(name, read_written(outcomes), pairs, catalog)
    if is_json:
        say_json({"items": [_document(each) for each in done]})
    else:
        for each in done:
            _say(each)
    if wrong:
        raise InvalidConfigError(wrong)
    return 1 if any(each.problems for each in done) else 0


def _rehearse_all(
    name: str | None, scripts: Sequence[Written], pairs: Sequence[str], catalog: Catalog
) -> tuple[list[_Done], list[ConfigError]]:
    """What came of every script that is sound, and what is wrong with the others."""
    done: list[_Done] = []
    wrong: list[ConfigError] = []
    for written in scripts:
        script = written.script
        called = name or script.workflow
        if called is None and written.problems:
            wrong += written.problems
            continue
        try:
            definition = catalog.get(called or _only(catalog))
            if problems := written.problems_beside(definition, catalog.get):
                wrong += problems
            else:
                done.append(_rehearse(definition, script, pairs, catalog))
        except WorkflowNotFoundError as error:
            wrong += [*written.problems, written.problem(str(error), "workflow")]
        except RequestError as error:
            wrong.append(written.problem(str(error)))
    return done, wrong


def _rehearse(
    definition: Definition, script: Script, pairs: Sequence[str], catalog: Catalog
) -> _Done:
    declared = definition.document["workflow"].get("parameters")
    parameters = {**script.parameters, **parameters_of(pairs, None, declared)}
    changed = script.model_copy(update={"parameters": parameters})
    rehearsed = rehearse(definition, changed, catalog.get)
    undone = _undone(rehearsed, changed, catalog)
    problems = unmet(rehearsed, changed.expect)
    if changed.expect.model_fields_set:
        problems += never_used(rehearsed, undone)
    return _Done(changed.name, rehearsed, undone, problems)


def _only(catalog: Catalog) -> str:
    names = catalog.named()
    if len(names) == 1:
        return names[0]
    raise typer.BadParameter(
        f"there are {len(names)} workflows ({', '.join(names) or 'none'}): name one:"
        " sagabus rehearse NAME, or workflow: NAME in the outcomes"
    )


def _undone(rehearsed: Rehearsed, script: Script, catalog: Catalog) -> Rehearsed | None:
    if rehearsed.state.row.status is not InstanceStatus.COMPLETED:
        return None
    return undo(rehearsed, script, catalog.get)


def _document(done: _Done) -> dict[str, Any]:
    return {**document_of(done.rehearsed, done.undone), "unmet": done.problems}


def _say(done: _Done) -> None:
    if done.name:
        say(f"{done.name}:")
    for line in lines_of(done.rehearsed, done.undone):
        say(line)
    for problem in done.problems:
        say(f"not as expected: {problem}")
