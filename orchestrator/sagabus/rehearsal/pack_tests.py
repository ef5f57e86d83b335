"""The tests of a pack: its scripts, each with the workflow that it is of."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.load import Loading
from sagabus.definitions.pack import Pack
from sagabus.errors import ConfigError, InvalidConfigError, WorkflowNotFoundError
from sagabus.rehearsal.reading import Written, read_written
from sagabus.rehearsal.script import Script


@dataclass(frozen=True, slots=True)
class PackTest:
    """One test; where something is wrong with it, it cannot be run."""

    name: str
    file: Path
    script: Script = field(default_factory=Script)
    #: None: it is not known, or something is wrong.
    definition: Definition | None = None
    problems: tuple[ConfigError, ...] = ()


def tests_of(pack: Pack, catalog: Catalog | None) -> Iterator[PackTest]:
    """Every test of ``pack``, be it sound or not; one that is wrong hides no other.

    ``catalog``: None where the workflows are wrong, too; their names are not looked for then.
    """
    for file in pack.tests:
        try:
            written = read_written(file)
        except InvalidConfigError as error:
            yield PackTest(file.stem, file, problems=tuple(error.problems))
        except ConfigError as error:
            yield PackTest(file.stem, file, problems=(error,))
        else:
            for number, one in enumerate(written, start=1):
                yield _test(one, one.script.name or f"{file.stem} {number}", pack, catalog)


def problems_of_tests(loading: Loading) -> list[ConfigError]:
    """Everything that is wrong with the tests of the packs that ``loading`` is about."""
    reading = loading.reading
    if reading is None or not (reading.only or reading.path.is_dir()):
        return []  # a configuration, which is put in force without them
    catalog = None if loading.problems else Catalog.of(reading.path, loading)
    return [
        problem
        for pack in loading.packs.values()
        if reading.only is None or pack.path.resolve() == reading.only.resolve()
        for test in tests_of(pack, catalog)
        for problem in test.problems
    ]


def _test(one: Written, name: str, pack: Pack, catalog: Catalog | None) -> PackTest:
    source, script = one.source, one.script
    definition, problems = None, [*one.problems]
    if catalog is None or (problems and script.workflow is None):
        return PackTest(name, source.path, script, problems=tuple(problems))
    try:
        definition = catalog.get(_whole_name(script, pack, catalog))
    except WorkflowNotFoundError as error:
        missing = f"is missing; write one of {', '.join(pack.workflows)}"
        said = missing if script.workflow is None else str(error)
        problems.append(one.problem(said, "workflow"))
    else:
        problems = one.problems_beside(definition, catalog.get)
        if definition.parameters is not None:
            _, wrong = definition.parameters.complete(script.parameters)
            problems += [one.problem(text, "parameters") for text in wrong]
    return PackTest(name, source.path, script, None if problems else definition, tuple(problems))


def _whole_name(script: Script, pack: Pack, catalog: Catalog) -> str:
    """A workflow of the pack may be named without it."""
    name = script.workflow or ""
    whole = f"{pack.name}.{name}"
    return whole if name not in catalog.definitions and whole in catalog.definitions else name
