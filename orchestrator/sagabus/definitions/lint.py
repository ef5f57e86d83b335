"""Rules of the language that go beyond the shape of one table."""

from contextlib import suppress

from sagabus.definitions.explain import Place
from sagabus.definitions.findings import EnoughFoundError, Findings, Subject
from sagabus.definitions.lint_calls import lint_calls
from sagabus.definitions.lint_graph import lint_graph
from sagabus.definitions.lint_saga import lint_saga
from sagabus.definitions.lint_stage import lint_stages
from sagabus.definitions.lint_values import lint_values


def lint_workflow(subject: Subject) -> Findings:
    """Everything that is wrong with a workflow beside its shape, and what is doubtful.

    Of very many mistakes the first are told: the search for more takes its time.
    """
    found = Findings()
    rules = (_check_names, lint_stages, lint_graph, lint_saga, lint_calls, lint_values)
    with suppress(EnoughFoundError):
        for rule in rules:
            rule(subject, found)
    return found


def _check_names(subject: Subject, found: Findings) -> None:
    limit = subject.limits.max_stages
    if len(subject.written) > limit:
        found.add(
            subject.place.at("stages"),
            f"{len(subject.written)} stages; engine.limits.max_stages allows {limit}",
        )
    first: dict[str, Place] = {}
    for place, name in subject.written:
        other = first.setdefault(name, place)
        if other is not place:
            found.add(
                place,
                f'"{name}" is already the name of the stage at line '
                f"{other.source.line(other.path)}; names are unique in a workflow",
            )
