"""Repair, bulk commands and holds over HTTP, on the real engine in memory."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagabus.api.application import create_app
from tests.support.crew import Crew, Fail
from tests.support.engine import Owner, owners, running
from tests.support.worlds import MemoryWorld, until

CONFIG = """
[[workflows]]
name = "build"
[[workflows.stages]]
name = "compile"
agents = ["backend"]
compensation_agents = ["backend"]
[[workflows.stages]]
name = "test"
agents = ["tester"]

[[workflows]]
name = "plain"
[[workflows.stages]]
name = "compile"
agents = ["backend"]
[[workflows.stages]]
name = "test"
agents = ["tester"]

[[workflows]]
name = "stuck"
[[workflows.stages]]
name = "wait"
agents = ["nobody"]
"""
BASE = "/api/v1/workflow-executions"
HOLDS = "/api/v1/holds"
WHY = {"by": "ann", "reason": "because"}


class House:
    """An orchestrator, its agents, and its API."""

    def __init__(self, owner: Owner, crew: Crew, client: httpx.AsyncClient, config: Path) -> None:
        self.o = owner.facade
        self.holder = owner.holder
        self.crew = crew
        self.client = client
        self.config = config

    async def give(
        self, path: str, document: dict[str, Any], *, key: str = "", code: int = 200
    ) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        reply = await self.client.post(f"{BASE}/{path}", json=document, headers=headers)
        assert reply.status_code == code, reply.text
        return reply.json()

    async def read(self, path: str, code: int = 200) -> Any:
        reply = await self.client.get(path)
        assert reply.status_code == code, reply.text
        return reply.json()

    async def until_status(self, id: str, status: str) -> None:
        async def look() -> bool:
            return (await self.o.get_row(id)).status == status

        await until(look)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    world = MemoryWorld()
    script = {"test-1-0#1": Fail(is_retryable=False)}
    async with owners(config, world) as own:
        owner = await own()
        crew = Crew(await world.link(), ("backend", "tester"), script)
        transport = httpx.ASGITransport(create_app(owner.facade), raise_app_exceptions=False)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as client,
            running(crew.work),
        ):
            yield House(owner, crew, client, config)


async def test_a_key_that_was_answered_is_taken_for_nothing_else(house: House) -> None:
    await house.o.start("plain", id="i1")
    await house.until_status("i1", "failed")
    first = await house.give("i1/retry", WHY, key="kk")
    await house.until_status("i1", "completed")
    assert await house.give("i1/retry", WHY, key="kk") == first
    assert await house.give("i1/retry", {**WHY, "by": "bob"}, key="kk") == first
    other = await house.give("i1/cancel", WHY, key="kk", code=409)
    assert other == {
        "code": "conflict",
        "message": "this command id (Idempotency-Key) was given with 'retry' before, "
        "and that was answered: give 'cancel' another one",
    }
    more = await house.give("i1/retry", {**WHY, "parameters": {"n": 1}}, key="kk", code=409)
    assert "was given with 'retry' with other arguments before" in more["message"]


async def test_of_two_commands_that_come_together_under_one_key_one_is_a_conflict(
    house: House,
) -> None:
    await house.o.start("plain", id="i1")
    await house.until_status("i1", "failed")
    url, headers = f"{BASE}/i1", {"Idempotency-Key": "kk"}
    replies = await asyncio.gather(
        house.client.post(f"{url}/retry", json=WHY, headers=headers),
        house.client.post(f"{url}/pause", json=WHY, headers=headers),
    )
    told = [reply.json().get("message", "") for reply in replies if reply.status_code == 409]
    assert any("this command id (Idempotency-Key) was given with" in each for each in told)


async def test_retry_tells_what_is_kept_and_what_runs_again(house: House) -> None:
    await house.o.start("plain", id="i1")
    await house.until_status("i1", "failed")
    reply = await house.give("i1/retry", WHY, key="c1")
    assert reply["command"] == "c1"
    assert (reply["result"]["kept"], reply["result"]["again"]) == (["compile"], ["test"])
    await house.until_status("i1", "completed")
    # The same again does nothing, and is answered as before.
    assert await house.give("i1/retry", WHY, key="c1") == reply
    assert (await house.give("i1/retry", WHY, code=409))["code"] == "conflict"
    assert house.crew.effects["i1 compile-1-0#1"] == 1


async def test_definition_in_force_is_compared_and_only_what_was_seen_is_taken(
    house: House,
) -> None:
    await house.o.start("plain", id="i1")
    await house.until_status("i1", "failed")
    assert (await house.read(f"{BASE}/i1/definition-change"))["change"] is None
    plain = '[[workflows]]\nname = "plain"'
    house.config.write_text(CONFIG.replace(plain, f'{plain}\nversion = "2.0.0"'))
    assert house.holder.reload()
    change = (await house.read(f"{BASE}/i1/definition-change"))["change"]
    assert [(each["key"], each["new"]) for each in change["keys"]] == [("version", "2.0.0")]
    assert change["old_digest"] == (await house.o.get_row("i1")).digest
    stale = await house.give("i1/retry", {"definition": "f" * 64}, code=409)
    assert "was changed since you looked at it" in stale["message"]
    reply = await house.give("i1/retry", {"definition": change["new_digest"]})
    assert reply["result"]["digest"] == change["new_digest"]
    await house.until_status("i1", "completed")


async def test_stage_repairs_need_a_reason_and_know_what_was_seen(house: House) -> None:
    await house.o.start("stuck", id="i1")
    await house.until_status("i1", "running")
    for path in ("skip", "fail", "set-result", "resolve"):
        document = {"stage": "wait"} | ({"outcome": "failed"} if path == "resolve" else {})
        missing = await house.give(f"i1/{path}", document, code=422)
        assert "reason" in missing["message"]
    wrong = {"stage": "wait", **WHY}
    assert (await house.give("i1/skip", wrong | {"attempt": "wait"}, code=422))["message"]
    await house.give("i1/skip", wrong | {"attempt": "wait-1-0/2"}, code=409)
    await house.give("i1/resolve", wrong | {"outcome": "maybe"}, code=422)
    await house.give("i1/resolve", wrong | {"outcome": "failed"}, code=409)
    await house.give("i1/resolve", wrong | {"outcome": "failed", "all": True}, code=409)
    both = {"outcome": "failed", "all": True, "attempt": "wait-1-0/1"}
    assert "name one attempt" in (await house.give("i1/resolve", wrong | both, code=422))["message"]
    reply = await house.give("i1/skip", wrong | {"attempt": "wait-1-0/1"})
    assert reply["result"] == {"id": "i1", "status": "completed", "stage": "wait"}


async def test_what_has_not_the_form_of_an_attempt_is_told_the_form(house: House) -> None:
    body = {"stage": "compile", "reason": "done", "attempt": "bla"}
    reply = await house.client.post(f"{BASE}/i1/skip", json=body)
    assert reply.json() == {
        "code": "invalid_request",
        "message": "attempt: write TASK/ATTEMPT, as in build-1-0/2",
    }


async def test_preview_lists_what_would_be_sent_and_why_it_would_not_be(house: House) -> None:
    house.crew.script = {}
    await house.o.start("build", id="i1")
    await house.until_status("i1", "completed")
    found = await house.read(f"{BASE}/i1/compensate")
    assert found["refusal"] is None
    assert [(each["stage"], each["undoes"]) for each in found["items"]] == [
        ("compile", "compile-1-0")
    ]
    assert found["effects_left"] == []
    assert found["ends"] == {"status": "rolled_back", "rollback": "full"}
    assert not any("undo" in effect for effect in house.crew.effects)
    assert (
        "no stage 'nope'" in (await house.read(f"{BASE}/i1/compensate?stage=nope", 422))["message"]
    )
    of_test = await house.read(f"{BASE}/i1/compensate?stage=test")
    assert (of_test["items"], of_test["ends"], of_test["refusal"]) == (
        [],
        None,
        "nothing of stage 'test' stands that could be undone",
    )
    reply = await house.give("i1/compensate", WHY)
    assert reply["result"]["stages"] == ["compile"]
    await house.until_status("i1", "rolled_back")
    after = await house.read(f"{BASE}/i1/compensate")
    assert after["items"] == []
    assert "everything is undone" in after["refusal"]


async def test_bulk_command_is_answered_for_each_and_done_to_each_once(house: House) -> None:
    for id in ("i1", "i2"):
        await house.o.start("stuck", id=id)
    document = {"workflow": "stuck", **WHY}
    dry = await house.give("bulk/cancel", document | {"dry_run": True})
    assert dry["dry_run"]
    assert [(each["id"], each["status"], each["ok"]) for each in dry["items"]] == [
        ("i2", "running", True),
        ("i1", "running", True),
    ]
    assert {(await house.o.get_row(id)).status for id in ("i1", "i2")} == {"running"}
    one = await house.give("bulk/cancel", document | {"limit": 1}, key="k1")
    assert [each["id"] for each in one["items"]] == ["i2"]
    assert one["has_more"]
    again = await house.give("bulk/cancel", {"status": ["cancelled", "running"]}, key="k1")
    assert [(each["id"], each["status"], each["ok"]) for each in again["items"]] == [
        ("i2", "cancelled", True),
        ("i1", "running", True),
    ]
    late = await house.give("bulk/cancel", {"status": ["cancelled"]})
    assert [(each["ok"], each["code"]) for each in late["items"]] == [(False, "conflict")] * 2
    assert "nothing to cancel" in late["items"][0]["message"]


async def test_bulk_selection_by_age(house: House) -> None:
    await house.o.start("stuck", id="old")
    await asyncio.sleep(0.5)
    await house.o.start("stuck", id="new")
    age = datetime.now(UTC) - (await house.o.get_row("old")).created_at
    found = await house.give("bulk/pause", {"older_than_s": age.total_seconds(), "dry_run": True})
    assert [each["id"] for each in found["items"]] == ["old"]
    assert (await house.give("bulk/pause", {"older_than_s": 3600}))["items"] == []


@pytest.mark.parametrize(
    ("path", "document", "reason"),
    [
        ("bulk/cancel", {"dry_run": True}, "name the instances"),
        ("bulk/compensate", {"workflow": "build"}, "name the status of the instances"),
        ("bulk/pause", {"workflow": "build", "compensate": False}, "compensate: is of cancel"),
        ("bulk/cancel", {"workflow": "x", "definition": "latest"}, "definition: is of retry"),
        ("bulk/approve", {"workflow": "build"}, "name"),
        ("bulk/cancel", {"workflow": "x", "limit": 0}, "limit"),
    ],
)
async def test_bulk_command_that_makes_no_sense_is_refused(
    house: House, path: str, document: dict[str, Any], reason: str
) -> None:
    await house.o.start("stuck", id="i1")
    assert reason in (await house.give(path, document, code=422))["message"]
    assert (await house.o.get_row("i1")).status == "running"


async def test_holds_are_put_shown_and_let_go(house: House) -> None:
    put = await house.client.put(f"{HOLDS}/role/backend", json=WHY)
    assert put.status_code == 200
    assert (await house.client.put(f"{HOLDS}/role/backend", json=WHY)).json() == put.json()
    other = await house.client.put(f"{HOLDS}/role/backend", json={"by": "bob"})
    assert other.status_code == 409
    assert "paused already, by ann" in other.json()["message"]
    assert (await house.client.put(f"{HOLDS}/role/none", json=WHY)).status_code == 422
    assert (await house.client.put(f"{HOLDS}/planet/mars", json=WHY)).status_code == 422
    await house.client.put(f"{HOLDS}/all")
    health = await house.read("/health")
    assert health["status"] == "ok"
    assert [(each["kind"], each["name"]) for each in health["holds"]] == [
        ("role", "backend"),
        ("all", "all"),
    ]
    assert (await house.read(HOLDS))["items"] == health["holds"]
    for path in ("all", "role/backend"):
        gone = await house.client.delete(f"{HOLDS}/{path}", params=WHY)
        assert (gone.json()["by"], gone.json()["is_held"]) == ("ann", False)
        assert (await house.client.delete(f"{HOLDS}/{path}")).status_code == 409
    assert (await house.read(HOLDS))["items"] == []


async def test_instance_paused_by_its_workflow_says_so(house: House) -> None:
    await house.o.start("stuck", id="i1")
    await house.client.put(f"{HOLDS}/workflow/stuck", json=WHY)
    paused = (await house.read(f"{BASE}/i1"))["paused"]
    assert (paused["by"], paused["reason"], paused["is_of_workflow"]) == ("ann", "because", True)
