"""The API's own manners: health, metrics, documents, and whom it refuses."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sagabus.app import ComponentHealth
from sagabus_agents.wire import PresenceMessage, RunningAttempt


async def test_health_is_503_while_a_part_is_degraded(client, orchestrator):
    ok = await client.get("/health")
    assert (ok.status_code, ok.json()["status"]) == (200, "ok")
    store = ComponentHealth(ok=False, detail="no answer for 12 s")
    orchestrator.health_now = replace(orchestrator.health_now, status="degraded", store=store)
    bad = await client.get("/health")
    assert bad.status_code == 503
    assert bad.json()["store"] == {"ok": False, "detail": "no answer for 12 s"}


async def test_metrics_count_what_the_machine_decided(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.fail("run-1")
    reply = await client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert 'sagabus_workflows_failed_total{workflow="deploy_pipeline"} 1.0' in reply.text


async def test_agents_are_listed_with_what_they_run(client, orchestrator):
    running = RunningAttempt(instance="i", task="t", attempt=1, started_at=datetime.now(UTC))
    for name in ("b", "a"):
        orchestrator.present.append(
            PresenceMessage(agent=name, roles=["devops"], slots=4, free=3, running=[running])
        )
    items = (await client.get("/api/v1/agents")).json()["items"]
    assert [item["agent"] for item in items] == ["a", "b"]
    assert items[0]["running"][0]["task"] == "t"


async def test_definitions_are_listed_and_shown(client):
    items = (await client.get("/api/v1/workflows")).json()["items"]
    assert [item["name"] for item in items] == ["deploy_pipeline", "release"]
    shown = (await client.get("/api/v1/workflows/deploy_pipeline")).json()
    assert shown["stages"][0]["compensation_agents"] == ["devops"]
    assert shown["stages"][0]["next"] == ["migrate_db"]
    assert (await client.get("/api/v1/workflows/nope")).status_code == 404


async def test_docs_need_nothing_from_elsewhere_and_name_every_route(client):
    page = (await client.get("/docs")).text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    for path in (await client.get("/openapi.json")).json()["paths"]:
        assert path in page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "10.0.0.1", "", "127.0.0.1.x"]
)
async def test_names_that_are_not_loopback_are_refused(client, host):
    reply = await client.get("/health", headers={"Host": host})
    assert reply.status_code == 403
    assert reply.json()["code"] == "forbidden_host"


@pytest.mark.parametrize(
    "host", ["localhost:1", "127.0.0.1", "[::1]:8420", "LOCALHOST", "127.9.9.9"]
)
async def test_every_name_of_loopback_is_served(client, host):
    assert (await client.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9"])
async def test_pages_of_other_origins_may_not_send_commands(client, orchestrator, origin):
    path = "/api/v1/workflows/release/execute"
    reply = await client.post(path, headers={"Origin": origin})
    assert reply.status_code == 403
    assert reply.json()["code"] == "cross_origin"
    assert not orchestrator.states
    same = await client.post(path, headers={"Origin": "http://127.0.0.1:8420"})
    assert same.status_code == 201


async def test_unknown_paths_and_methods_answer_in_the_same_form(client):
    missing = await client.get("/api/v1/nope")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await client.delete("/health")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")


async def test_our_own_bug_is_a_500_without_its_details(client, orchestrator):
    orchestrator.health_now = None
    reply = await client.get("/health")
    assert reply.status_code == 500
    assert reply.json()["code"] == "internal_error"
