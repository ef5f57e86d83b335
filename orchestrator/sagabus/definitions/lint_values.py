"""Rules of values: templates, schemas of parameters and output, secrets in plain text."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jinja2 import nodes

from sagabus.core.definition import TemplateError
from sagabus.definitions.explain import Place
from sagabus.definitions.findings import Findings, Subject
from sagabus.definitions.json_schema import schema_problems
from sagabus.definitions.parameters import parameter_problems
from sagabus.definitions.template_names import check_names, keys_with_expressions, texts_of
from sagabus.definitions.template_places import TemplatePlace, template_places
from sagabus.definitions.templates import compile_value, has_expression, parse_text, uses_secrets

_WORDS: Final = (
    r"password|passwd|passphrase|secret|token|api_?key|private_?key|access_?key|credentials?"
)
#: ``db_password``, ``dbPassword``; not ``password_file`` or ``max_tokens``.
_SECRET_KEY: Final = re.compile(rf"(?:^|.*[^a-z])(?:{_WORDS})$")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def lint_values(subject: Subject, found: Findings) -> None:
    """Check everything in a workflow that is a value, and may hold expressions."""
    _check_schemas(subject, found)
    for where in template_places(subject):
        for place, problem in _template_problems(where):
            found.add(place, problem)
        for place in _plain_secrets(where.place, where.value):
            found.doubt(
                place,
                "looks like a secret in plain text; store it, and write "
                "\"{{ kv.get_secret('KEY') }}\" in the input of the agent that uses it",
            )


def _check_schemas(subject: Subject, found: Findings) -> None:
    output, declared = subject.place.at("output"), subject.place.at("parameters")
    if isinstance(output.value, Mapping):
        for path, problem in schema_problems(output.value):
            found.add(output.at(*path), problem)
        if subject.place.at("output_map").value is None:
            found.doubt(output, "nothing gives an output; write output_map")
    for name, parameter in declared.value.items() if isinstance(declared.value, Mapping) else ():
        if isinstance(parameter, Mapping):
            _check_parameter(declared.at(str(name)), str(name), parameter, found)


def _check_parameter(here: Place, name: str, declared: Mapping[str, Any], found: Findings) -> None:
    for path, problem in parameter_problems(name, declared):
        found.add(here.at(*path), problem)
    if declared.get("secret") is True:
        found.doubt(
            here.at("secret"),
            "keeps the value out of error messages only: parameters stand in the database; store "
            "what must not, and write \"{{ kv.get_secret('KEY') }}\" in the input of its agent",
        )
    default = declared.get("default")
    is_secret = declared.get("secret") is True or _is_secret_key(name)
    if is_secret and isinstance(default, str) and default:
        found.doubt(here.at("default"), "a secret in plain text; leave the default out")


def _template_problems(where: TemplatePlace) -> Iterator[tuple[Place, str]]:
    for key in keys_with_expressions(where.value):
        yield where.place, f'the key "{key}" is not evaluated; write expressions as values'
    if where.is_single and isinstance(where.value, str) and not _is_single(where.value):
        yield (
            where.place,
            f"{_shown(where.value)!r} gives text; write one expression alone, as in "
            '"{{ parameters.x }}"',
        )
        return
    for path, text in texts_of(where.value):
        here = where.place.at(*path)
        try:
            compile_value(text, "")
        except TemplateError as error:
            yield here, f"{error} in {_shown(text)}"
            continue
        for problem in check_names(text, where.visible):
            yield here, f"{problem}{' in' if problem.endswith('?') else ', in'} {_shown(text)}"
        if not where.takes_secrets and uses_secrets(text):
            yield (
                here,
                "a secret is known to agents alone; read it in the input of a stage with agents, "
                f"in {_shown(text)}",
            )


@lru_cache(maxsize=4_096)
def _is_single(text: str) -> bool:
    """True when ``text`` is one expression, or not valid, which is said elsewhere."""
    try:
        body = parse_text(text).body
    except ValueError:
        return True
    match body:
        case [nodes.Output(nodes=[node])]:
            return not isinstance(node, nodes.TemplateData)
        case _:
            return False


def _plain_secrets(place: Place, value: Any, key: str = "") -> Iterator[Place]:
    match value:
        case dict():
            for name, item in value.items():
                yield from _plain_secrets(place.at(name), item, str(name))
        case list():
            for index, item in enumerate(value):
                yield from _plain_secrets(place.at(index), item, key)
        case str() if value and _is_secret_key(key) and not has_expression(value):
            yield place


def _is_secret_key(key: str) -> bool:
    return _SECRET_KEY.match(_HUMP.sub("_", key).lower()) is not None


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
