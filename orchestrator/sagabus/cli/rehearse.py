"""``sagabus rehearse``: a workflow run on paper, with scripted outcomes and without servers."""

from collections.abc import Sequence
from pathlib import Path

import typer

from sagabus.cli.options import parameters_of
from sagabus.cli.output import say, say_json
from sagabus.core.instance import InstanceStatus
from sagabus.definitions.catalog import Catalog
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.report import document_of, lines_of, unmet
from sagabus.rehearsal.script import Script
from sagabus.rehearsal.simulator import Rehearsed, rehearse, undo


def run(
    name: str | None,
    *,
    file: Path,
    outcomes: Path | None,
    pairs: Sequence[str],
    is_json: bool,
) -> int:
    """Rehearse every script of ``outcomes``; the exit code: 1 when an expectation is not met."""
    catalog = Catalog.load(file)
    scripts = read_scripts(outcomes) if outcomes is not None else [Script()]
    documents = []
    is_met = True
    for script in scripts:
        definition = catalog.get(name or script.workflow or _only(catalog))
        declared = definition.document["workflow"].get("parameters")
        parameters = {**script.parameters, **parameters_of(pairs, None, declared)}
        changed = script.model_copy(update={"parameters": parameters})
        rehearsed = rehearse(definition, changed, catalog.get)
        undone = _undone(rehearsed, changed, catalog)
        problems = unmet(rehearsed, changed.expect)
        is_met = is_met and not problems
        if is_json:
            documents.append({**document_of(rehearsed, undone), "unmet": problems})
        else:
            _say(changed.name, [*lines_of(rehearsed, undone)], problems)
    if is_json:
        say_json({"items": documents})
    return 0 if is_met else 1


def _only(catalog: Catalog) -> str:
    names = sorted(catalog.definitions)
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


def _say(name: str, lines: Sequence[str], problems: Sequence[str]) -> None:
    if name:
        say(f"{name}:")
    for line in lines:
        say(line)
    for problem in problems:
        say(f"not as expected: {problem}")
