"""``sagabus pack test``: the rehearsals in a pack's ``tests/``, each held to what it expects."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagabus.cli.output import say, say_json
from sagabus.cli.pack_files import pack_of
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.pack import Pack
from sagabus.errors import ConfigError, RequestError
from sagabus.rehearsal.pack_tests import PackTest, tests_of
from sagabus.rehearsal.report import document_of, lines_of, never_used, unmet
from sagabus.rehearsal.simulator import Rehearsed, rehearse


@dataclass(frozen=True, slots=True)
class _Tested:
    name: str
    file: Path
    problems: list[str]
    rehearsed: Rehearsed | None = None


def run(path: Path, *, file: Path | None, is_json: bool) -> int:
    """Run the tests of the pack at ``path``; the exit code: 1 when one of them fails.

    Raises:
        ConfigError: it is no pack, it or ``file`` is wrong, or it has no tests.
    """
    directory = pack_of(path)
    catalog = Catalog.load(file or directory)
    pack = _pack_in(catalog, directory)
    if not pack.tests:
        raise ConfigError("has no tests; write them into tests/*.yaml", path=directory)
    tested = [_run(test, catalog) for test in tests_of(pack, catalog)]
    failed = sum(bool(each.problems) for each in tested)
    if is_json:
        say_json({"items": [_document(each) for each in tested]})
    else:
        for each in tested:
            _say(each)
        say(f"{len(tested) - failed} of {len(tested)} as expected")
    return 1 if failed else 0


def _pack_in(catalog: Catalog, directory: Path) -> Pack:
    for pack in catalog.packs.values():
        if pack.path.resolve() == directory.resolve():
            return pack
    raise ConfigError("is not among the packs of the workflows file", path=directory)


def _run(test: PackTest, catalog: Catalog) -> _Tested:
    if test.definition is None:
        return _Tested(test.name, test.file, [str(problem) for problem in test.problems])
    try:
        rehearsed = rehearse(test.definition, test.script, catalog.get)
    except RequestError as error:
        return _Tested(test.name, test.file, [str(error)])
    problems = [*never_used(rehearsed), *unmet(rehearsed, test.script.expect)]
    return _Tested(test.name, test.file, problems, rehearsed)


def _document(tested: _Tested) -> Mapping[str, Any]:
    found = tested.rehearsed
    return {
        "name": tested.name,
        "file": str(tested.file),
        "unmet": tested.problems,
        "rehearsal": None if found is None else document_of(found, None),
    }


def _say(tested: _Tested) -> None:
    say(f"{'not as expected' if tested.problems else 'ok':>15}  {tested.name}")
    for problem in tested.problems:
        say(f"{'':>17}{problem}")
    if tested.problems and tested.rehearsed is not None:
        for line in lines_of(tested.rehearsed, None):
            say(f"{'':>17}{line}")
