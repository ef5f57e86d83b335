"""Templates, evaluated as simply as can be: one Jinja expression, or no expression at all."""

from functools import lru_cache
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError, Undefined


class ValueFailedError(Exception):
    """A template that gives no value."""


class _Keys(Environment):
    """``a.b`` is the key ``b`` of ``a``."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Undefined):
            return obj  # ``task.not_run_yet.status | default('none')``
        try:
            return obj[attribute]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=attribute)


def _default(value: Any, other: Any) -> Any:
    return other if value is None or isinstance(value, Undefined) else value


_JINJA = _Keys(undefined=StrictUndefined)
_JINJA.filters["default"] = _default


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> Any:
    return _JINJA.compile_expression(expression, undefined_to_none=False)


def value(template: Any, scope: dict[str, Any]) -> Any:
    """What a template gives; tables and lists element by element."""
    if isinstance(template, dict):
        return {key: value(each, scope) for key, each in template.items()}
    if isinstance(template, list):
        return [value(each, scope) for each in template]
    if not isinstance(template, str) or "{{" not in template:
        return template
    text = template.strip()
    if not (text.startswith("{{") and text.endswith("}}")):
        raise NotImplementedError(f"only whole expressions are judged here: {template!r}")
    try:
        found = _compiled(text[2:-2])(**scope)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ValueFailedError(str(error)) from error
    if isinstance(found, Undefined):
        raise ValueFailedError(f"{template} is undefined")
    return found


def truth(template: str, scope: dict[str, Any]) -> bool:
    """A condition: true or false, and nothing else."""
    found = value(template, scope)
    if not isinstance(found, bool):
        raise ValueFailedError(f"{template} gives {found!r}")
    return found
