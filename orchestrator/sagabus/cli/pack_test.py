"""``sagabus pack test``: the rehearsals in a pack's ``tests/``, each held to what it expects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagabus.cli.output import say, say_json
from sagabus.cli.pack_files import pack_of
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.pack import Pack
from sagabus.errors import ConfigError, RequestError
from sagabus.rehearsal.reading import read_scripts
from sagabus.rehearsal.report import document_of, lines_of, unmet
from sagabus.rehearsal.script import Script
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
    tested = list(_test(catalog, pack))
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


def _test(catalog: Catalog, pack: Pack) -> Iterator[_Tested]:
    for file in pack.tests:
        for number, script in enumerate(read_scripts(file), start=1):
            name = script.name or f"{file.stem} {number}"
            try:
                rehearsed = _rehearse(catalog, pack, script)
            except RequestError as error:
                yield _Tested(name, file, [str(error)])
            else:
                yield _Tested(name, file, unmet(rehearsed, script.expect), rehearsed)


def _rehearse(catalog: Catalog, pack: Pack, script: Script) -> Rehearsed:
    name = script.workflow or ""
    if name not in catalog.definitions and f"{pack.name}.{name}" in catalog.definitions:
        name = f"{pack.name}.{name}"
    return rehearse(catalog.get(name), script, catalog.get)


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
