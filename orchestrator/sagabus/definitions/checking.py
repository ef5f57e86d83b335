"""Checks documents as if they were registered, without putting them in force."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.load import assemble
from sagabus.definitions.registered import Refused, RegisteredSource
from sagabus.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Checked:
    """What documents would be."""

    #: In the order of the documents; empty where anything is wrong.
    definitions: Sequence[Definition]
    problems: Sequence[ConfigError]
    warnings: Sequence[ConfigError]


def check_documents(documents: Sequence[RegisteredSource], catalog: Catalog) -> Checked:
    """Check ``documents`` as if they were registered beside what ``catalog`` has in force.

    Each stands in for the workflow of its name, be that registered or in a file. Where another
    workflow calls one of them in a way that does not fit any more, that is a problem, too.
    """
    if catalog.reading is None:
        raise ValueError("the catalog was not read from files")
    names = [document.name for document in documents]
    files = [one for one in catalog.reading.workflows if one.name not in names]
    others = [one for one in catalog.registered if one.name not in names]
    loading = assemble(replace(catalog.reading, workflows=files), [*others, *documents])
    problems = [*_own(loading.refused, documents), *loading.problems]
    problems += _broken(loading.refused, documents, catalog.definitions)
    paths = {str(document.path) for document in documents}
    warnings = [one for one in loading.warnings if one.path in paths]
    if problems:
        return Checked((), problems, warnings)
    return Checked([loading.definitions[name] for name in names if name], (), warnings)


def _own(
    refused: Sequence[Refused], documents: Sequence[RegisteredSource]
) -> Iterator[ConfigError]:
    for one in refused:
        if any(one.document is document for document in documents):
            yield from one.problems


def _broken(
    refused: Sequence[Refused],
    documents: Sequence[RegisteredSource],
    in_force: Collection[str],
) -> Iterator[ConfigError]:
    """What is in force now, and would not be any more."""
    for one in refused:
        is_other = not any(one.document is document for document in documents)
        if is_other and one.name in in_force:
            yield from one.problems
