"""`sagabus drift` on a directory that shell scripts fill: what a user sees, and the exit codes."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import SAGABUS, Orchestrator, Program, sagabus, until

WORKFLOWS = """
[[workflows]]
name = "publish"

[[workflows.stages]]
name = "put"
agents = ["files"]
compensation_agents = ["files"]

[[workflows.stages]]
name = "check"
agents = ["files"]
"""

PUT = """\
name=$(sed 's/.*"name":"\\([^"]*\\)".*/\\1/')
echo first > "$SITE/$name"
echo '{"kind": "file", "id": "'"$name"'", "spec": {"text": "first"}}' >> "$SAGABUS_RESOURCES"
"""
TAKE_AWAY = """\
name=$(sed 's/.*"name":"\\([^"]*\\)".*/\\1/')
rm -f "$SITE/$name"
"""
CHECK = 'grep -q \'"name":"bad"\' && exit 65 || exit 0'
LIST = """\
cat > /dev/null
separator="["
for file in "$SITE"/*; do
  [ -e "$file" ] || continue
  printf '%s{"id": "%s", "spec": {"text": "%s"}}' "$separator" "${file##*/}" "$(cat "$file")"
  separator=","
done
[ "$separator" = "[" ] && printf '['
printf ']'
"""


class Site:
    """Files, an orchestrator, and an agent of four scripts."""

    def __init__(self, directory: Path, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self.files = directory / "site"
        self.files.mkdir()
        scripts = {"put": PUT, "take_away": TAKE_AWAY, "check": CHECK, "list": LIST}
        for name, text in scripts.items():
            (directory / f"{name}.sh").write_text(text)

        def run(name: str) -> str:
            return shlex.join(["sh", str(directory / f"{name}.sh")])

        self.agent = Program(
            "files",
            [
                *(*SAGABUS, "agent", "exec", "files"),
                *("--on", f"put={run('put')}", "--on", f"check={run('check')}"),
                *("--undo", f"put={run('take_away')}", "--observe", f"file={run('list')}"),
            ],
            directory,
            env={"SAGABUS_NATS_URL": orchestrator.nats_url, "SITE": str(self.files)},
        )

    def publish(self, name: str) -> dict[str, object]:
        id = name.replace(".", "-")
        self.orchestrator.start_instance("publish", id, {"name": name})
        return until(lambda: self.orchestrator.at_end(id), f"{name} ends")

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return sagabus(*arguments, url=self.orchestrator.url)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        site = Site(tmp_path, orchestrator)
        with site.agent:
            yield site


def test_what_scripts_made_is_watched_for_drift(site: Site) -> None:
    assert site.publish("a.txt")["status"] == "completed"
    assert site.publish("b.txt")["status"] == "completed"
    assert site.publish("bad")["status"] == "rolled_back"
    listed = json.loads(site.ask("resources", "list", "--json").stdout)["items"]
    assert [(item["id"], item["status"]) for item in listed] == [
        ("a.txt", "present"),
        ("b.txt", "present"),
        ("bad", "gone"),
    ]
    clean = site.ask("drift")
    assert (clean.returncode, clean.stdout) == (0, "2 resources observed: no drift\n")
    (site.files / "a.txt").write_text("second\n")
    (site.files / "b.txt").unlink()
    (site.files / "c.txt").write_text("mine\n")
    drifted = site.ask("drift", "file")
    assert drifted.returncode == 1
    assert drifted.stdout.splitlines() == [
        "- file b.txt is missing; declared by publish b-txt, stage put",
        "~ file a.txt has changed; declared by publish a-txt, stage put",
        '    text: "first" → "second"',
        "+ file c.txt is unmanaged",
        "2 resources observed: 1 missing, 1 changed, 1 unmanaged",
    ]
    site.agent.terminate()
    site.agent.ended()
    alone = site.ask("drift")
    assert (alone.returncode, alone.stdout.splitlines()) == (
        2,
        [
            "? role files, kind file (2 resources) not observed: no agent of role 'files' is alive",
            "0 of 2 resources observed: no drift among them",
        ],
    )
