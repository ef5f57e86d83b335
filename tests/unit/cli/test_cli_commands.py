"""The operators' commands as processes: what they print, and how they end."""

import json
import re
import threading
from dataclasses import replace

import pytest

from sagabus.core.definition import Approval
from sagabus.definitions.json_schema import Schema
from tests.unit.core.family_scene import child_stage
from tests.unit.core.scene import core, sequence

COMMANDS = [
    "up",
    "orchestrator",
    "migrate",
    "validate",
    "doctor",
    "start",
    "approve",
    "reject",
    "cancel",
    "list",
    "show",
    "history",
    "watch",
    "workflows",
    "agents",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_speaks_json(sagabus, command):
    found = sagabus(command, "--help", COLUMNS="200")
    assert found.returncode == 0
    assert "--json" in found.stdout
    assert "\x1b" not in found.stdout


def test_overview_names_every_command(sagabus):
    found = sagabus("--help")
    assert found.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", found.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["start"],
        ["start", "w", "-p", "novalue"],
        ["start", "w", "--params", "[]"],
        ["reject", "i", "s"],
        ["list", "--limit", "0"],
        ["orchestrator"],
        ["validate"],
        ["list", "--url", "nonsense"],
        ["up", "--http", "0.0.0.0:80"],
        ["up", "--connect-timeout", "soon"],
        ["graph"],
        ["dead", "show", "x"],
        ["dead", "list", "--before", "0"],
        ["resources", "list", "--status", "bogus"],
        ["compensate", "--workflow", "w"],
    ],
)
def test_wrong_usage_is_one_line_and_ends_with_2(sagabus, arguments):
    found = sagabus(*arguments)
    assert (found.returncode, found.stdout) == (2, "")
    [line] = found.stderr.splitlines()
    command = " ".join(["sagabus", *arguments[: 1 + (arguments[0] in {"dead", "resources"})]])
    where = command if arguments != ["nonsense"] else "sagabus"
    assert line.startswith(f"{where}: ")
    assert line.endswith(f"; see '{where} -h'")
    assert "Invalid value" not in line
    assert "Value error" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--status", "bogus"],
        *([name, "--status", "bogus"] for name in ("retry", "cancel", "pause", "resume")),
        ["compensate", "--status", "failed", "--status", "bogus"],
    ],
)
def test_status_that_is_none_is_wrong_usage_that_names_those_there_are(sagabus, arguments):
    found = sagabus(*arguments)
    assert found.returncode == 2
    assert (
        "--status: 'bogus' is none of pending, running, waiting, paused, needs_operator, "
        "compensating, completed, failed, rolled_back, cancelled;"
    ) in found.stderr


@pytest.mark.parametrize("group", [[], ["audit"], ["dead"], ["kv"], ["pack"], ["resources"]])
def test_command_that_only_holds_others_prints_its_help(sagabus, group):
    found = sagabus(*group)
    assert (found.returncode, found.stderr) == (2, "")
    assert "Usage:" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list"], "start one with 'sagabus up'"),
        (["list", "--url", "http://127.0.0.1:1"], "no orchestrator answers at"),
        (["up", "--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_failure_is_one_line_on_standard_error(sagabus, arguments, words):
    found = sagabus(*arguments)
    assert found.returncode == 1
    assert words in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not found.stdout


def test_start_and_show_and_list(sagabus, remote):
    url = ("--url", remote.url)
    started = sagabus("start", "deploy_pipeline", "-p", "n=1", "--id", "run-1", *url)
    assert (started.returncode, started.stdout) == (0, "run-1\n")
    row = remote.orchestrator.states["run-1"].row
    assert (row.parameters, row.started_by) == ({"n": 1}, "ada")
    shown = sagabus("show", "run-1", SAGABUS_URL=remote.url)
    assert shown.returncode == 0
    assert re.search(r"provision +1 +running", shown.stdout)
    document = json.loads(sagabus("show", "run-1", "--json", *url).stdout)
    assert document["tasks"][0]["task_name"] == "provision"
    listed = json.loads(sagabus("list", "--json", *url).stdout)
    assert [item["id"] for item in listed["items"]] == ["run-1"]
    assert "run-1" in sagabus("list", *url).stdout
    assert sagabus("list", "--status", "waiting", "--json", *url).stdout.count("run-1") == 0


def test_refusal_of_the_orchestrator_is_one_line(sagabus, remote):
    found = sagabus("show", "nope", "--url", remote.url)
    assert found.returncode == 1
    assert found.stderr == "sagabus: no instance 'nope'\n"


def test_what_is_no_sagabus_is_called_so(sagabus, remote):
    found = sagabus("list", "--url", f"{remote.url}/docs#")
    assert found.returncode == 1
    assert "correct --url" in found.stderr


@pytest.mark.parametrize(
    ("play", "code", "word"), [("succeed", 0, "completed"), ("fail", 1, "failed")]
)
def test_start_wait_says_how_it_ended(sagabus, remote, play, code, word):
    remote.do(remote.orchestrator.start("release", id="run-1"))
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(
            sagabus("start", "release", "--id", "run-1", "--wait", "--url", remote.url)
        )
    )
    waiting.start()
    approved = sagabus("approve", "run-1", "publish", "--reason", "ok", "--url", remote.url)
    assert approved.returncode == 0
    remote.do(getattr(remote.orchestrator, play)("run-1"))
    waiting.join()
    assert found[0].returncode == code
    assert found[0].stdout.startswith(f"release run-1 {word}")


def test_wait_tells_an_approval_that_was_handled_from_success(sagabus, remote):
    remote.do(remote.orchestrator.start("deploy_pipeline", id="run-1"))
    for _ in range(3):
        remote.do(remote.orchestrator.succeed("run-1"))
    remote.orchestrator.states["run-1"].row.handled_failures = 1
    found = sagabus("start", "deploy_pipeline", "--id", "run-1", "--wait", "--url", remote.url)
    assert found.returncode == 3
    assert "completed, 1 failure handled" in found.stdout


def test_reject_and_cancel(sagabus, remote):
    for name in ("a", "b"):
        remote.do(remote.orchestrator.start("release", id=name))
    url = ("--url", remote.url)
    assert sagabus("reject", "a", "publish", "--reason", "no", *url).returncode == 0
    assert remote.orchestrator.states["a"].row.error.message == "rejected by ada: no"
    cancelled = json.loads(sagabus("cancel", "b", "--json", *url).stdout)
    assert cancelled["result"]["status"] == "cancelled"
    again = sagabus("cancel", "b", *url)
    assert again.returncode == 1
    assert "cancelled" in again.stderr


def test_history_and_watch_tell_the_whole_story(sagabus, remote):
    remote.do(remote.orchestrator.start("release", id="run-1"))
    remote.do(remote.orchestrator.reject_stage("run-1", "publish", by="ada", reason="no"))
    url = ("--url", remote.url)
    told = sagabus("history", "run-1", *url)
    assert "ApprovalRejected" in told.stdout
    watched = sagabus("watch", "run-1", "--json", *url)
    assert watched.returncode == 1
    entries = [json.loads(line) for line in watched.stdout.splitlines()]
    assert entries == json.loads(sagabus("history", "run-1", "--json", *url).stdout)["items"]
    assert (
        sagabus("watch", "run-1", *url).stdout.splitlines()[-1].startswith("release run-1 failed")
    )


def test_workflows_and_agents_are_listed(sagabus, remote):
    url = ("--url", remote.url)
    assert "provision migrate_db smoke_test" in sagabus("workflows", *url).stdout
    shown = json.loads(sagabus("workflows", "release", "--json", *url).stdout)
    assert [item["name"] for item in shown["items"]] == ["release"]
    assert json.loads(sagabus("agents", "--json", *url).stdout) == {"items": []}


def test_validate_reports_and_ends_with_1(sagabus, tmp_path):
    (tmp_path / "good.toml").write_text(
        '[[workflows]]\nname = "w"\n[[workflows.stages]]\nname = "s"\nagents = ["r"]\n'
    )
    (tmp_path / "bad.toml").write_text('[[workflows]]\nname = "w"\nstagse = []\n')
    assert sagabus("validate", "good.toml").returncode == 0
    bad = sagabus("validate", "good.toml", "bad.toml")
    assert bad.returncode == 1
    assert "bad.toml:3" in bad.stdout
    report = json.loads(sagabus("validate", "bad.toml", "--json").stdout)
    assert report["valid"] is False
    assert 3 in [problem["line"] for problem in report["problems"]]


def test_migrate_applies_once_and_says_what_is_applied(sagabus):
    before = json.loads(sagabus("migrate", "--status", "--json").stdout)["items"]
    assert before
    assert all(item["applied_at"] is None for item in before)
    assert sagabus("migrate").returncode == 0
    after = json.loads(sagabus("migrate", "--json").stdout)["items"]
    assert all(item["applied_at"] and not item["is_new"] for item in after)


def test_doctor_fails_on_a_broken_file_and_only_warns_when_nothing_runs(sagabus, tmp_path):
    fine = sagabus("doctor", "--json")
    assert fine.returncode == 0
    levels = {check["check"]: check["level"] for check in json.loads(fine.stdout)["checks"]}
    assert levels["workflows file"] == "ok"
    assert levels["orchestrator"] == "warn"
    (tmp_path / "bad.toml").write_text("nonsense")
    broken = sagabus("doctor", "--config", "bad.toml")
    assert broken.returncode == 1
    assert "sagabus validate bad.toml" in broken.stdout


def test_doctor_names_roles_without_agents(sagabus, remote):
    below = child_stage()
    counted = core("count", "core.echo")
    remote.orchestrator.definitions["calling"] = replace(sequence(below, counted), name="calling")
    checks = json.loads(sagabus("doctor", "--json", "--url", remote.url).stdout)["checks"]
    levels = {check["check"]: check["level"] for check in checks}
    assert levels["role devops"] == "warn"
    assert levels["store"] == "ok"
    assert not any(name.startswith("role _") for name in levels)


@pytest.mark.parametrize("spare", [0, 40, 200])
def test_doctor_says_what_to_do_behind_what_it_found_however_long_that_is(sagabus, tmp_path, spare):
    (tmp_path / "bad.toml").write_text(f"{'x' * 40} = {'y' * 150}")
    wide = sagabus("doctor", "--config", "bad.toml", COLUMNS="10000").stdout.splitlines()
    found = wide[0].index("FOUND")
    assert found < 24
    # A word is never broken, and the path of a server that was found is one.
    longest = max(len(word) for line in wide for word in line[found:].split())
    width = found + longest + spare
    said = sagabus("doctor", "--config", "bad.toml", COLUMNS=str(width)).stdout.splitlines()
    # No row is wider because of another one, and what is wrapped stays below its head.
    assert said[0] == wide[0]
    assert max(map(len, said)) <= width
    assert " ".join(line[found:] for line in said).endswith("; next: sagabus up")
    assert "; next: sagabus validate bad.toml" in " ".join(line[found:] for line in said)


def test_an_approval_of_two_takes_two_names_and_what_each_fills_in(sagabus, remote):
    release = remote.orchestrator.definitions["release"]
    gate = Approval(approvers=2, form=Schema({"required": ["ticket"]}))
    stages = {"publish": replace(release.stages["publish"], approval=gate)}
    remote.orchestrator.definitions["release"] = replace(release, stages=stages)
    remote.do(remote.orchestrator.start("release", id="run-1"))
    approve = ("approve", "run-1", "publish", "--url", remote.url)
    without = sagabus(*approve)
    assert without.returncode == 1
    assert "`ticket` is missing" in without.stderr
    data = ("--data", '{"ticket": 7}')
    first = sagabus(*approve, *data)
    assert first.stdout == "run-1: stage publish approved; 1 more has to approve it\n"
    assert (
        "asked, 1 missing, approved by ada"
        in sagabus("show", "run-1", "--url", remote.url, COLUMNS="200").stdout
    )
    assert "ada has approved already" in sagabus(*approve, *data).stderr
    last = sagabus(*approve, *data, SAGABUS_USER="bob")
    assert last.stdout == "run-1: stage publish approved\n"
