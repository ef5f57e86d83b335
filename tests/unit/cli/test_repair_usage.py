"""Commands of repair and pausing: what is no command, and how they explain themselves."""

import pytest
from typer.testing import CliRunner

from sagabus.cli import repair
from sagabus.cli.bulk import Selection
from sagabus.cli.client import Api
from sagabus.cli.main import app

COMMANDS = (
    *("pause", "resume", "holds", "cancel", "retry"),
    *("skip", "set-result", "fail", "resolve", "compensate"),
)


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments, prog_name="sagabus", env={"COLUMNS": "400"})
    return done.exit_code, done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_speaks_json(command: str) -> None:
    code, text = run(command, "--help")
    assert code == 0
    assert "--json" in text


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("cancel",), "name the instance, or select some"),
        (("cancel", "x", "--workflow", "build"), "name one thing"),
        (("retry", "--limit", "3"), "name the instance, or select some"),
        (("cancel", "x", "--dry-run"), "ID and --dry-run do not go together"),
        (("retry", "x", "--definition", "d1"), "only 'latest'"),
        (("retry", "x", "--yes"), "--yes: belongs to --definition"),
        (("compensate", "--workflow", "build"), "--status: say it"),
        (("resolve", "x", "p", "--failed", "--attempt", "p", "--reason", "y"), "not TASK/ATTEMPT"),
        (("cancel", "--workflow", "build", "--status", "bogus"), "none of pending, running"),
        (("skip", "x", "p", "--attempt", "p-1-0/0", "--reason", "y"), "not TASK/ATTEMPT"),
        (("retry", "--workflow", "build", "--from", "test"), "is for one instance"),
        (("retry", "--workflow", "build", "--definition", "latest"), "several need --yes"),
        (("compensate", "--workflow", "build", "--preview"), "are for one instance"),
        (("resolve", "x", "pay", "--reason", "y"), "say one of --succeeded, --failed"),
        (("resolve", "x", "pay", "--failed", "--retry", "--reason", "y"), "say one of"),
        (("resolve", "x", "p", "--failed", "--output", "1", "--reason", "y"), "--succeeded"),
        (
            ("resolve", "x", "p", "--failed", "--all", "--attempt", "p-1-0/1", "--reason", "y"),
            "name one attempt, or all",
        ),
        (("set-result", "x", "p", "--output", "{", "--reason", "y"), "no JSON"),
        (("skip", "x", "wait"), "--reason"),
        (("pause", "--role", "a", "--all"), "name one thing"),
        (("pause",), "ID, --workflow, --role or --all"),
        (("resume", "--workflow", "build", "--dry-run"), "--dry-run: is for instances"),
        (("start", "build", "--id", "a b"), "'a b' is no id: 1 to 64 letters"),
        (("pause", "--status", "running", "--older-than", "soon"), "is not a duration"),
    ],
)
def test_wrong_usage_has_exit_code_2_and_says_what_is_missing(
    command: tuple[str, ...], reason: str
) -> None:
    code, text = run(*command)
    assert code == 2
    assert reason in text


@pytest.mark.parametrize("text", ["90", "90s", "1.5m"])
def test_age_is_seconds_or_a_number_with_a_unit(text: str) -> None:
    assert Selection(older_than=text).document()["older_than_s"] == 90


def test_a_preview_says_what_stands_all_the_same_and_how_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stands = {"stage": "pay", "task": "pay-1-0", "class": "final", "is_certain": True}
    maybe = {**stands, "stage": "ship", "task": "ship-1-0", "is_certain": False}
    found = {"id": "i1", "refusal": None, "items": [], "effects_left": [stands, maybe]}
    repair._say_preview({**found, "ends": {"status": "failed", "rollback": "partial"}}, None)
    assert capsys.readouterr().out.splitlines() == [
        "final stage pay, task pay-1-0 cannot be undone",
        "final stage ship, task ship-1-0, if it was done, cannot be undone",
        "so the instance ends failed, rollback partial",
        "nothing was sent; to do it: sagabus compensate i1",
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("running", "goes on; it is running: sagabus watch i1"),
        ("needs_operator", "is not paused any more; it needs an operator: sagabus show i1"),
    ],
)
def test_resume_says_whether_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, status: str, words: str
) -> None:
    monkeypatch.setattr(Api, "post", lambda *_: {"result": {"id": "i1", "status": status}})
    assert run("resume", "i1") == (0, f"i1: {words}\n")


@pytest.mark.parametrize(
    ("status", "is_sent", "words"),
    [
        ("needs_operator", True, "is sent once more; it needs an operator: sagabus show i1"),
        ("paused", False, "is sent once more when the instance is resumed; it is paused"),
    ],
)
def test_resolve_says_when_what_is_tried_again_is_sent(
    monkeypatch: pytest.MonkeyPatch, status: str, is_sent: bool, words: str
) -> None:
    result = {"id": "i1", "status": status, "stage": "pay", "is_sent": is_sent}
    monkeypatch.setattr(Api, "post", lambda *_: {"command": "c1", "result": result})
    code, text = run("resolve", "i1", "pay", "--retry", "--reason", "y")
    assert (code, text.startswith(f"i1: stage pay {words}")) == (0, True), text


@pytest.mark.parametrize(("left", "more"), [(0, ""), (3, ", 3 more are unknown: once more")])
def test_resolve_of_all_names_them_and_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, left: int, more: str
) -> None:
    result = {"id": "i1", "status": "running", "attempts": ["pay-1-0/1", "pay-1-1/1"], "left": left}
    given: list[dict[str, object]] = []

    def post(_: Api, path: str, document: dict[str, object]) -> dict[str, object]:
        given.append(document)
        return {"command": "c1", "result": result}

    monkeypatch.setattr(Api, "post", post)
    code, text = run("resolve", "i1", "pay", "--all", "--succeeded", "--reason", "y")
    assert (code, given[0]["all"]) == (0, True)
    assert text.startswith(f"i1: stage pay counts as succeeded (pay-1-0/1, pay-1-1/1){more}; it is")
