"""How parameters are read from a command line, and what is printed."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.main import get_command

from sagabus.cli.main import app
from sagabus.cli.options import json_of, parameters_of, who
from sagabus.cli.output import clean, duration, status


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('["a", 1]', ["a", 1]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ('"1.5"', "1.5"),
        ("1.2.3", "1.2.3"),
        ("two words", "two words"),
        ("NaN", "NaN"),
        ("", ""),
        ("a=b", "a=b"),
    ],
)
def test_value_is_json_where_it_can_be_and_text_else(text, value):
    assert parameters_of([f"key={text}"], None) == {"key": value}


def test_json_comes_from_a_file_with_an_at_sign(tmp_path: Path):
    file = tmp_path / "p.json"
    file.write_text('{"a": [1]}')
    assert parameters_of([], f"@{file}") == {"a": [1]}
    assert json_of(f"@{file}", "--data") == {"a": [1]}
    file.write_text("{a")
    for given, said in (
        (f"@{file}", "no JSON"),
        ("@none.json", "none.json: there is no such file"),
    ):
        with pytest.raises(typer.BadParameter, match=said):
            json_of(given, "--data")
    assert parameters_of(["a=@b"], None) == {"a": "@b"}, "a text may begin so"


def test_single_parameters_win_over_the_document():
    assert parameters_of(["a=2"], '{"a": 1, "b": 1}') == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("pairs", "document"), [(["a"], None), (["=1"], None), ([], "[1]"), ([], "{")]
)
def test_what_is_no_parameter_is_wrong_usage(pairs, document):
    with pytest.raises(typer.BadParameter):
        parameters_of(pairs, document)


def test_person_is_named_by_the_environment_or_the_login(monkeypatch):
    monkeypatch.setenv("SAGABUS_USER", "ada")
    assert who() == "ada"
    monkeypatch.delenv("SAGABUS_USER")
    monkeypatch.setenv("LOGNAME", "grace")
    assert who() == "grace"


def test_agents_text_cannot_steer_the_terminal():
    assert "\x1b" not in clean("\x1b[2J\x1b]0;title\x07boom")
    out = io.StringIO()
    Console(file=out, force_terminal=True).print(status("failed", "\x1b[2Jboom [red]x[/red]"))
    assert "[2Jboom [red]x[/red]" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_durations_are_short():
    spans = [None, 0.0042, 3.14, 125, 7300]
    assert [duration(span) for span in spans] == ["-", "4 ms", "3.1 s", "2 min 05 s", "2 h 01 min"]


def flags_of(name: str) -> set[str]:
    program: Any = get_command(app)
    return {flag for option in program.commands[name].params for flag in option.opts}


def test_the_documentation_says_which_flags_are_for_the_orchestrator_alone():
    text = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    found = text.partition("\nBoth take:\n")[2].partition("\nFlags win")[0]
    both, alone = (
        set(re.findall(r"^\| `(--[a-z-]+)", part, flags=re.MULTILINE))
        for part in found.split("\nOf the two only `orchestrator` has these flags.")
    )
    apart = {"--after-restore", "--paused", "--json"}
    assert both == flags_of("orchestrator") & flags_of("up") - apart
    assert alone == flags_of("orchestrator") - flags_of("up")
