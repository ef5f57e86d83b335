"""Tables on terminals of any width: nothing that people copy is broken or lost."""

import pytest
from rich.text import Text

from sagabus.cli.output import say_table, status

HEAD = ("ID", "WORKFLOW", "STATUS", "STARTED", "TOOK", "AT")
ROWS = [
    ("order-2026-11-22-000017", "pay", status("needs_operator"), "2026-11-22 16:24:20Z", "-", ""),
    ("57b1bf3dc85cf95c", "deploy", status("failed"), "2026-11-22 16:24:19Z", "54 ms", "x/y-1-0 no"),
    ("i" * 64, "a_workflow_of_a_long_name", status("paused"), "2026-11-22 16:24:19Z", "1 ms", "a "),
    ("short", "pay", status("running"), "2026-11-22 16:24:19Z", "2 ms", "the reason " * 20),
]


def printed(
    capsys: pytest.CaptureFixture[str], rows: list[tuple[str | Text, ...]], none: str = ""
) -> list[str]:
    say_table(HEAD, rows, none)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [1, 20, 40, 64, 65, 80, 100, 120, 160, 200, 500])
def test_every_word_stands_whole_on_every_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed(capsys, ROWS)
    shown = " ".join(lines).split()
    for row in ROWS:
        for cell in row:
            for word in str(cell).split():
                assert word in shown or word == "-"
    for line in lines:
        assert line == line.rstrip()
        # A word that is longer than a line is broken by the terminal, and copied whole.
        assert len(line) <= max(width, 4 + 64) or width < 64


def test_what_fits_beside_each_other_is_one_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert printed(capsys, ROWS[:2]) == [
        "ID                       WORKFLOW  STATUS          STARTED               TOOK",
        "order-2026-11-22-000017  pay       needs_operator  2026-11-22 16:24:20Z  -",
        "57b1bf3dc85cf95c         deploy    failed          2026-11-22 16:24:19Z  54 ms",
        "    AT x/y-1-0 no",
    ]
    monkeypatch.setenv("COLUMNS", "110")
    lines = printed(capsys, [*ROWS[:2], ROWS[3]])
    assert lines[0].endswith("  TOOK   AT")
    assert lines[2].endswith("54 ms  x/y-1-0 no")
    # The last column is wrapped beside the others.
    at = lines[0].rindex("AT")
    assert {line[:at].strip() for line in lines[4:]} == {""}
    assert " ".join(line[at:] for line in lines[3:]) == ("the reason " * 20).strip()


def test_what_a_pipe_takes_is_a_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = printed(capsys, ROWS)
    assert len(lines) == 1 + len(ROWS)
    assert lines[4].endswith("the reason the reason")


def test_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, [], "no instance matches") == ["no instance matches"]
    assert printed(capsys, []) == [" ".join(HEAD).replace(" ", "  ")]
    assert printed(capsys, [("a\nb", *ROWS[0][1:])])[1].startswith("a b  pay")
