"""graph, diff, schema and validate: what they print, where, and how they end."""

import json
import os
import re
import sys
from subprocess import CompletedProcess
from xml.etree import ElementTree

import pytest

from sagabus.cli.main import main

FLOW = """
[[workflows]]
name = "ship"
[[workflows.stages]]
name = "build"
agents = ["builder"]
timeout = "5m"
compensation_agents = ["builder"]
[[workflows.stages]]
name = "roll_out"
agents = ["eu"]
approval_required = true
"""
OTHER = '[[workflows]]\nname = "other"\n[[workflows.stages]]\nname = "only"\nagents = ["r"]\n'
BAD = '[[workflows]]\nname = "a, b"\n[[workflows.stages]]\nname = "s"\nagnets = ["50%"]\n'


@pytest.fixture
def sagabus(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory; here, because a process of its own takes a second."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SAGABUS_")]:
        monkeypatch.delenv(name)

    def run(*arguments, **environ):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["sagabus", *arguments])
            for name, value in environ.items():
                patch.setenv(name, value)
            code = main()
        written = capsys.readouterr()
        return CompletedProcess(arguments, code, written.out, written.err)

    return run


@pytest.fixture
def files(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "workflows.toml").write_text(FLOW + OTHER)
    (tmp_path / "one.toml").write_text(FLOW)
    (tmp_path / "bad.toml").write_text(BAD)
    return tmp_path


@pytest.mark.parametrize("command", ["graph", "diff", "schema", "validate"])
def test_command_explains_itself(sagabus, command):
    found = sagabus(command, "--help", COLUMNS="200")
    assert found.returncode == 0
    assert "\x1b" not in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["ship"],
        ["ship", "-f", "one.toml"],
        ["-f", "one.toml"],
        ["one.toml"],
        ["--file", "config/workflows.toml", "ship"],
    ],
)
def test_graph_is_read_from_a_file_without_a_server(sagabus, files, arguments):
    found = sagabus("graph", *arguments)
    assert (found.returncode, found.stderr) == (0, "")
    assert "build · builder · undone by builder\n└─ next → roll_out" in found.stdout
    assert "roll_out · eu · needs approval" in found.stdout


def test_graph_of_a_workflow_in_a_pack(sagabus, files):
    flows = files / "packs" / "shop" / "workflows"
    flows.mkdir(parents=True)
    (flows.parent / "pack.yaml").write_text("ref: shop\n")
    (flows / "a.yaml").write_text("ref: shop.a\ntasks: [{name: one, action: core.noop}]\n")
    (flows / "b.yaml").write_text(
        "ref: b\ntasks:\n  - {name: sub, action: shop.a, on_success: {bad: 1}}\n"
    )
    bad = sagabus("validate", "packs/shop", "--format", "github")
    assert bad.returncode == 1
    assert re.match(r"::error file=packs/shop/workflows/b.yaml,line=3::.*on_success", bad.stdout)
    (flows / "b.yaml").write_text("ref: b\ntasks: [{name: sub, action: shop.a}]\n")
    assert sagabus("validate", "packs/shop").returncode == 0
    found = sagabus("graph", "packs/shop/workflows/b.yaml")
    assert "sub · workflow shop.a" in found.stdout
    assert "one · core.noop" in sagabus("graph", "shop.a", "-f", "packs/shop").stdout


def test_graph_is_read_from_the_configuration_that_is_named(sagabus, files):
    found = sagabus("graph", "ship", SAGABUS_CONFIG="one.toml")
    assert found.stdout.startswith("ship\n")


@pytest.mark.parametrize(
    ("form", "words"), [("mermaid", "flowchart TD"), ("dot", 'digraph "ship"'), ("svg", "<svg")]
)
def test_graph_has_several_forms(sagabus, files, form, words):
    found = sagabus("graph", "one.toml", "--format", form)
    assert words in found.stdout
    written = sagabus("graph", "one.toml", "--format", form, "-o", "picture")
    assert (written.returncode, written.stdout) == (0, "")
    assert (files / "picture").read_text() == found.stdout
    if form == "svg":
        ElementTree.fromstring(found.stdout)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["nope"], 'there is no workflow "nope"', 1),
        ([], "has 2 workflows (other, ship): name one", 2),
        (["shop", "-f", "nowhere.toml"], "there is no such file", 1),
        (["bad.toml"], "bad.toml:", 1),
        (["one.toml", "-o", "no/such/place"], "cannot be written", 1),
        (["ship", "--url", "http://127.0.0.1:1"], "no orchestrator answers at", 1),
        (["--url", "http://127.0.0.1:1"], "name the workflow", 2),
    ],
)
def test_graph_that_cannot_be_drawn_says_why(sagabus, files, arguments, words, code):
    found = sagabus("graph", *arguments)
    assert found.returncode == code
    assert words in found.stderr
    assert "Traceback" not in found.stderr


def test_graph_of_a_running_orchestrator(sagabus, remote):
    url = ("--url", remote.url)
    found = sagabus("graph", "deploy_pipeline", *url)
    assert "provision · devops · undone by devops" in found.stdout
    document = json.loads(sagabus("graph", "deploy_pipeline", "--json", *url).stdout)
    assert [node["name"] for node in document["nodes"]] == ["provision", "migrate_db", "smoke_test"]
    # Without a file it is asked as well.
    assert sagabus("graph", "deploy_pipeline", SAGABUS_URL=remote.url).stdout == found.stdout
    missing = sagabus("graph", "nope", *url)
    assert (missing.returncode, missing.stderr) == (1, 'sagabus: there is no workflow "nope"\n')


def test_graph_of_an_instance_shows_how_far_it_has_come(sagabus, remote):
    remote.do(remote.orchestrator.start("deploy_pipeline", id="run-1"))
    remote.do(remote.orchestrator.succeed("run-1"))
    found = sagabus("graph", "--instance", "run-1", "--url", remote.url)
    assert found.stdout.startswith("deploy_pipeline run-1: running\n")
    assert "provision [succeeded]" in found.stdout
    assert "migrate_db [running]" in found.stdout
    assert "next ⇒ migrate_db" in found.stdout
    assert "next → smoke_test" in found.stdout
    missing = sagabus("graph", "--instance", "nope", "--url", remote.url)
    assert missing.stderr == "sagabus: no instance 'nope'\n"


def test_of_a_pack_only_what_was_named_is_compared_and_rehearsed(sagabus, files, monkeypatch):
    text = "ref: {}\ntasks: [{{name: one, action: {}, timeout: {}}}]\n"
    for root, time in (("old", 1), ("new", 2)):
        for pack, flow, action in (
            ("near", "a", "core.noop"),
            ("shop", "a", "near.a"),
            ("shop", "b", "core.noop"),
        ):
            path = files / root / pack / "workflows" / f"{flow}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(f"{pack}.{flow}", action, time))
            (path.parent.parent / "pack.yaml").write_text(f"ref: {pack}\n")
    whole = sagabus("diff", "old/shop", "new/shop").stdout
    assert re.findall("(?m)^. workflow (.*)$", whole) == ["shop.a", "shop.b"]
    assert re.search('carried out by.digest: "[0-9a-f]{12}" → "[0-9a-f]{12}"\n', whole)
    one = sagabus("diff", "old/shop/workflows/b.yaml", "new/shop/workflows/b.yaml").stdout
    assert re.findall("(?m)^. workflow (.*)$", one) == ["shop.b"]
    found = json.loads(sagabus("diff", "old/shop", "new/shop", "--json").stdout)
    assert len(found["workflows"][0]["new_digest"]) == 64, "programs get it whole"
    assert "core.noop" in sagabus("rehearse", "-f", "old/shop/workflows/b.yaml").stdout
    monkeypatch.chdir("old/shop")
    assert "core.noop" in sagabus("rehearse", "-f", "workflows/b.yaml").stdout
    monkeypatch.chdir(files)
    assert "(shop.a, shop.b)" in sagabus("rehearse", "-f", "old/shop").stderr
    assert "(shop.a, shop.b)" in sagabus("graph", "-f", "old/shop").stderr


def test_diff_of_equal_files_is_nothing(sagabus, files):
    found = sagabus("diff", "one.toml", "one.toml")
    assert (found.returncode, found.stdout) == (0, "nothing differs\n")
    assert json.loads(sagabus("diff", "one.toml", "one.toml", "--json").stdout)["same"] is True


def test_diff_says_what_changes_for_whom(sagabus, files):
    changed = FLOW.replace('"5m"', '"1m"').replace('["eu"]', '["eu", "us"]')
    (files / "new.toml").write_text(changed + OTHER.replace("other", "further"))
    found = sagabus("diff", "config/workflows.toml", "new.toml")
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "~ workflow ship",
        "  ~ stage build: timeout: 300 → 60",
        '  ~ stage roll_out: agents: ["eu"] → ["eu","us"]',
        "- workflow other (only)",
        "+ workflow further (only)",
        "",
        "Running instances: nothing changes; each keeps the definition that it started on,"
        " those of ship, other the old one.",
        "New instances of ship, further start on the new one.",
        "other can no longer be started.",
    ]
    document = json.loads(sagabus("diff", "config/workflows.toml", "new.toml", "--json").stdout)
    assert document["same"] is False
    ship, *_ = document["workflows"]
    assert ship["keys"][0] == {"stage": "build", "key": "timeout", "old": 300, "new": 60}


@pytest.mark.parametrize("pair", [("one.toml", "bad.toml"), ("nowhere.toml", "one.toml")])
def test_diff_of_what_cannot_be_read_ends_with_2(sagabus, files, pair):
    found = sagabus("diff", *pair)
    assert found.returncode == 2
    assert ".toml" in found.stderr
    assert not found.stdout


def test_schema_is_printed_and_written(sagabus, files):
    printed = sagabus("schema")
    assert json.loads(printed.stdout)["$schema"].endswith("2020-12/schema")
    assert sagabus("schema", "--output", "s.json").stdout == ""
    assert (files / "s.json").read_text() == printed.stdout
    assert "tasks" in json.loads(sagabus("schema", "--pack").stdout)["properties"]


def test_validate_for_github_names_file_and_line(sagabus, files):
    found = sagabus("validate", "bad.toml", "one.toml", "--format", "github")
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"::error file=bad\.toml,line=\d+::\S", line)
    assert any("agnets" in line and "line=5" in line for line in lines)
    assert sagabus("validate", "one.toml", "--format", "github").stdout == ""


def test_validate_for_github_quotes_what_would_end_the_line(sagabus, files):
    (files / "odd,na:me%.toml").write_text(BAD.replace("a, b", "100%"))
    found = sagabus("validate", "odd,na:me%.toml", "--format", "github")
    assert "file=odd%2Cna%3Ame%25.toml,line=" in found.stdout
    assert "100%25" in found.stdout


def test_validate_as_json_is_one_document_by_either_flag(sagabus, files):
    by_format = sagabus("validate", "bad.toml", "--format", "json")
    assert by_format.returncode == 1
    assert json.loads(by_format.stdout)["valid"] is False
    assert sagabus("validate", "bad.toml", "--json").stdout == by_format.stdout
    assert sagabus("validate", "bad.toml", "--format", "xml").returncode == 2
