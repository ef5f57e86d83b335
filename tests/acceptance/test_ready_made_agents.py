"""`sagabus agent http` and `sagabus agent pack` under a real orchestrator, and its drawing."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.processes import SAGABUS, Orchestrator, Program, all_of, sagabus, until

WORKFLOWS = """
packs = ["packs"]

[[workflows]]
name = "order"
parameters = {url = {type = "string", required = true}, thing = {type = "string", required = true}}

[[workflows.stages]]
name = "create"
agents = ["http"]
action = "post"
input = {url = "{{ parameters.url }}", json = {thing = "{{ parameters.thing }}"}}
retry = {count = 1, delay = 0}
compensation = {action = "delete", input = {url = "{{ parameters.url }}"}}

[[workflows.stages]]
name = "reserve"
action = "shop.reserve"
input = {thing = "{{ parameters.thing }}", order = "{{ task.create.result.json.id }}"}
compensation_agents = ["shop"]

[[workflows.stages]]
name = "charge"
action = "shop.charge"
input = {thing = "{{ parameters.thing }}"}
classification = "read_only"
"""
RESERVE = """
import os

def note(text):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write(text + "\\n")

async def run(task, thing, order):
    task.artifact(f"{thing}-of-{order}")
    note(f"reserved {thing}")
    return {"shelf": 3}

def undo(thing, output, artifacts):
    note(f"undone {thing} {output['shelf']} {artifacts}")
"""
CHARGE = """
from sagabus_agents import PermanentError

def run(thing):
    if thing == "gold":
        raise PermanentError("not enough money", type="declined")
"""


class Orders(BaseHTTPRequestHandler):
    """An API that is busy at first; remembers what it was asked."""

    asked: list[tuple[str, str | None, object]] = []  # noqa: RUF012 - a class for every test

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        is_first = ("POST", key, body) not in self.asked
        self.asked.append(("POST", key, body))
        self._answer(503 if is_first else 201, {"id": 7})

    def do_DELETE(self) -> None:
        self.asked.append(("DELETE", None, None))
        self._answer(200, {})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def orders() -> Iterator[tuple[str, list[tuple[str, str | None, object]]]]:
    class Mine(Orders):
        asked: list[tuple[str, str | None, object]] = []  # noqa: RUF012

    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/orders", Mine.asked
        server.shutdown()
        thread.join()


def write_pack(directory: Path) -> None:
    actions = directory / "packs" / "shop" / "actions"
    actions.mkdir(parents=True)
    (actions.parents[0] / "pack.yaml").write_text("ref: shop\n")
    (actions / "reserve.yaml").write_text(
        "parameters:\n  thing: {type: string, required: true}\n"
        "  order: {type: integer, required: true}\n"
    )
    (actions / "reserve.py").write_text(RESERVE)
    (actions / "charge.yaml").write_text("description: Take the money\n")
    (actions / "charge.py").write_text(CHARGE)


def test_workflow_of_http_and_pack_actions_runs_and_is_undone(
    tmp_path: Path, orders: tuple[str, list[tuple[str, str | None, object]]]
) -> None:
    url, asked = orders
    write_pack(tmp_path)
    journal = tmp_path / "journal"
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        env = {"SAGABUS_NATS_URL": orchestrator.nats_url, "JOURNAL": str(journal)}
        packs = ("pack", "shop", "--packs", tmp_path / "packs")
        agents = [
            Program("http", [*SAGABUS, "agent", "http"], tmp_path, env=env),
            Program("shop", [*SAGABUS, "agent", *packs], tmp_path, env=env),
        ]
        with all_of(agents):
            for thing in ("chair", "gold"):
                orchestrator.start_instance("order", thing, {"url": url, "thing": thing})
            chair, gold = (
                until(lambda id=id: orchestrator.at_end(id), f"{id} ends")
                for id in ("chair", "gold")
            )
        assert chair["status"] == "completed"
        assert (gold["status"], gold["rollback"]) == ("rolled_back", "full")
        assert gold["error"]["type"] == "declined"
        graph = sagabus("graph", "--instance", "gold", url=orchestrator.url).stdout
        # A file that changes does not change what an instance runs on.
        orchestrator.config.write_text(WORKFLOWS.replace("charge", "bill"))
        path = "/api/v1/workflows/order/graph"
        until(lambda: "bill" in json.dumps(orchestrator.get(path)), "the new file is in force")
        assert sagabus("graph", "--instance", "gold", url=orchestrator.url).stdout == graph
    posts = [(key, body) for method, key, body in asked if method == "POST"]
    for thing in ("chair", "gold"):
        assert posts.count((f"{thing}:create-1-0", {"thing": thing})) == 2
    assert len(asked) == 5
    assert asked[-1][0] == "DELETE"
    assert sorted(journal.read_text().splitlines()) == [
        "reserved chair",
        "reserved gold",
        "undone gold 3 ['gold-of-7']",
    ]
    assert graph.startswith("order gold: rolled_back\n")
    assert "create [compensated] · http · action post · undone by http" in graph
    assert "charge [failed] · shop · read_only\n│  declined: not enough money" in graph
    assert "next ⇒ charge" in graph
