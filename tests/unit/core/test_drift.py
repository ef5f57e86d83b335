"""What differs between a spec and what was found, field by field."""

from typing import Any

import pytest

from sagabus.core.drift import differences

SPEC: dict[str, Any] = {
    "size": "s",
    "count": 3,
    "on": True,
    "tags": {"env": "prod", "a.b": 1},
    "disks": [{"gb": 10}, {"gb": 20}],
    "note": None,
}


def told(found: Any) -> list[tuple[str, str, Any, Any]]:
    return [
        (each.path, each.change, each.expected, each.found) for each in differences(SPEC, found)
    ]


def test_what_is_the_same_has_no_differences() -> None:
    assert told(dict(reversed(SPEC.items()))) == []
    assert told(SPEC | {"count": 3.0}) == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"size": "m"}, ("size", "changed", "s", "m")),
        ({"on": 1}, ("on", "changed", True, 1)),
        ({"count": True}, ("count", "changed", 3, True)),
        ({"note": 0}, ("note", "changed", None, 0)),
        ({"size": {"cpu": 2}}, ("size", "changed", "s", {"cpu": 2})),
        ({"tags": {"env": "dev", "a.b": 1}}, ("tags.env", "changed", "prod", "dev")),
        ({"tags": {"env": "prod", "a.b": 2}}, ('tags["a.b"]', "changed", 1, 2)),
        ({"tags": {"env": "prod"}}, ('tags["a.b"]', "missing", 1, None)),
        ({"tags": None}, ("tags", "changed", SPEC["tags"], None)),
        ({"public": True}, ("public", "added", None, True)),
        ({'a"\\': None}, ('["a\\"\\\\"]', "added", None, None)),
        ({"disks": [{"gb": 10}, {"gb": 21}]}, ("disks[1].gb", "changed", 20, 21)),
        ({"disks": [{"gb": 10}]}, ("disks", "changed", SPEC["disks"], [{"gb": 10}])),
        ({"disks": {}}, ("disks", "changed", SPEC["disks"], {})),
    ],
)
def test_a_difference_is_named_by_its_path(
    change: dict[str, Any], difference: tuple[str, str, Any, Any]
) -> None:
    assert told(SPEC | change) == [difference]


def test_every_difference_is_named() -> None:
    assert [each[0] for each in told({"disks": [{}, {"gb": 20, "x": 1}]})] == [
        "size",
        "count",
        "on",
        "tags",
        "disks[0].gb",
        "disks[1].x",
        "note",
    ]
