"""Drift: what differs between resources as they were declared and as they were found."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a spec that is not as it was declared."""

    #: As ``disks[0].size``; a key that is no word is quoted: ``labels["a.b"]``.
    path: str
    #: ``missing``: it was not found, ``added``: it was not declared.
    change: Literal["changed", "missing", "added"]
    #: None where there is none, which ``change`` tells from null.
    expected: Any
    found: Any


def differences(expected: Any, found: Any, path: str = "") -> Iterator[FieldChange]:
    """Every field that differs. Lists of another length differ as a whole; 1 and 1.0 are equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*expected, *found]):
            place = _place(path, key)
            if key not in found:
                yield FieldChange(place, "missing", expected[key], None)
            elif key not in expected:
                yield FieldChange(place, "added", None, found[key])
            else:
                yield from differences(expected[key], found[key], place)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif expected != found or isinstance(expected, bool) != isinstance(found, bool):
        yield FieldChange(path, "changed", expected, found)


def _place(path: str, key: str) -> str:
    if _WORD.fullmatch(key):
        return f"{path}.{key}" if path else key
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{quoted}"]'


@dataclass(frozen=True, slots=True)
class Declared:
    """A resource that should be there, with who declared it last."""

    kind: str
    id: str
    spec: Mapping[str, Any]
    spec_version: int
    role: str
    instance: str
    workflow: str
    stage: str
    declared_at: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """One that is there, and not as it was declared."""

    resource: Declared
    fields: Sequence[FieldChange]


@dataclass(frozen=True, slots=True)
class Unmanaged:
    """Something that is there, and that nobody has declared, or that should be gone."""

    kind: str
    id: str
    #: Who found it.
    role: str
    #: None: its finder did not look.
    spec: Mapping[str, Any] | None
    #: It was declared once, by that instance, and is thought to be gone since then.
    gone_at: datetime | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Unobserved:
    """A role that did not say which resources of a kind are there."""

    role: str
    kind: str
    #: How many there should be; 0: it made some, and all are gone.
    resources: int
    #: Why, one sentence.
    reason: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found by one look; it is stored nowhere."""

    at: datetime
    #: None: every kind.
    kind: str | None
    #: Resources that should be there, and were looked for.
    observed: int
    missing: Sequence[Declared]
    changed: Sequence[Changed]
    unmanaged: Sequence[Unmanaged]
    unobserved: Sequence[Unobserved]

    @property
    def has_drift(self) -> bool:
        """Whether anything is not as it was declared."""
        return bool(self.missing or self.changed or self.unmanaged)

    @property
    def is_complete(self) -> bool:
        """Whether every resource that should be there was looked for."""
        return not any(each.resources for each in self.unobserved)
