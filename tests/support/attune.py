"""The second seed's documents installed: packs on disk, agents of every role, a health page.

The documents are copied as they are; what they leave to others (the actions of ``my_pack``, its
registry) stands in ``tests/cases/attune/packs``.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.support.processes import ROOT, SAGABUS, Orchestrator, Program, sagabus, until
from tests.support.scripted_agent import read_lines

CASES = ROOT / "tests/cases/attune"
WORKFLOWS = 'packs = ["packs"]\n'
#: Documents that differ from the printed ones in what is named here, beside those.
VARIANTS = {
    "seed.timeout_soon": ("seed.timeout", {"timeout: 3600": "timeout: 1"}),
    "seed.many_batches": (
        "seed.batches",
        {"records: [1, 2, 3]": f"records: {list(range(1150))}"},
    ),
}
#: Roles that the scripted agent plays.
SCRIPTED = (
    *("docker", "kubernetes", "slack", "cloud", "data", "ml"),
    *("postgres", "redis", "rabbitmq"),
)


def write_packs(directory: Path) -> Path:
    """The packs of the seed, below ``directory``."""
    packs = directory / "packs"
    shutil.copytree(CASES / "packs", packs)
    for pack, document in (("my_pack", "deploy_application"), ("seed", "features")):
        (packs / pack / "workflows").mkdir()
        shutil.copy(CASES / f"{document}.yaml", packs / pack / "workflows")
    documents = (CASES / "features.yaml").read_text().split("\n---\n")
    for name, (of, changes) in VARIANTS.items():
        [text] = [one for one in documents if f"ref: {of}\n" in one]
        for old, new in {f"ref: {of}\n": f"ref: {name}\n", **changes}.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        (packs / "seed" / "workflows" / f"{name}.yaml").write_text(text)
    return packs


class _Health(BaseHTTPRequestHandler):
    """Every application is well, but those with ``no-health`` in their name."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(503 if "no-health" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def health_page() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that were asked for."""
    asked: list[str] = []
    handler = type("Health", (_Health,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def scripted(
    directory: Path, nats_url: str, roles: tuple[str, ...], script: Mapping[str, Any]
) -> Program:
    """An agent of ``roles``; what it is asked stands in ``asked.jsonl``."""
    path = directory / "script.json"
    path.write_text(json.dumps(script))
    return Program(
        "scripted",
        [
            *(sys.executable, "-m", "tests.support.scripted_agent", *roles),
            *("--script", path, "--log", directory / "asked.jsonl"),
        ],
        directory,
        env={"SAGABUS_NATS_URL": nats_url},
    )


def ready_made(directory: Path, nats_url: str, health_url: str) -> list[Program]:
    """The shipped agents: ``http``, and the Python actions of ``my_pack``."""
    env = {
        "SAGABUS_NATS_URL": nats_url,
        "HEALTH_URL": health_url,
        "RECORDS": str(directory / "records.jsonl"),
    }
    pack = ("pack", "my_pack", "--packs", directory / "packs")
    return [
        Program("http", [*SAGABUS, "agent", "http"], directory, env=env),
        Program("my_pack", [*SAGABUS, "agent", *pack], directory, env=env),
    ]


class Site:
    """Everything at work."""

    def __init__(self, directory: Path, orchestrator: Orchestrator, asked: list[str]) -> None:
        self.directory = directory
        self.orchestrator = orchestrator
        #: Paths of the health page.
        self.health = asked

    def ended(self, id: str) -> dict[str, Any]:
        """The instance at its end."""
        return until(lambda: self.orchestrator.at_end(id), f"{id} ends", within_s=90)

    def tasks(self, id: str) -> list[dict[str, Any]]:
        found = self.orchestrator.get(f"/api/v1/workflow-executions/{id}/tasks")["items"]
        return list(found)

    def stages(self, id: str) -> list[str]:
        """Stages in the order in which they began."""
        return [stage["stage"] for stage in self.orchestrator.instance(id)["stages"]]

    def inputs(self, id: str) -> dict[str, Any]:
        """What the first task of each stage was given."""
        found: dict[str, Any] = {}
        for task in self.tasks(id):
            found.setdefault(task["task_name"], task["input"])
        return found

    def asked(self, id: str) -> list[dict[str, Any]]:
        """What the scripted agent was asked for an instance."""
        return [
            line for line in read_lines(self.directory / "asked.jsonl") if line["instance"] == id
        ]

    def records(self) -> list[dict[str, Any]]:
        """What the actions of ``my_pack`` have written."""
        text = (self.directory / "records.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command prints."""
        done = sagabus(*arguments, url=self.orchestrator.url, SAGABUS_USER="ann")
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code != 1 else done.stderr
