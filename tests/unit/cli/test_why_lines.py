"""How ``why`` prints what to do: many ways are a line each."""

import pytest

from sagabus.cli.why import say_cause


@pytest.mark.parametrize(
    ("ways", "lines"),
    [
        ([], []),
        (["wait", "skip it"], ["    next: wait, or skip it"]),
        (["look", "wait", "skip it"], ["    next: look", "      or: wait", "      or: skip it"]),
    ],
)
def test_many_ways_are_a_line_each(
    ways: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    say_cause({"message": "it waits", "next": ", or ".join(ways), "ways": ways})
    assert capsys.readouterr().out.splitlines() == ["  it waits", *lines]
