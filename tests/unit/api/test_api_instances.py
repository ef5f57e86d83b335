"""Instances over HTTP: how they stand and what people ask of them."""

import asyncio
import json

import pytest

from sagabus.errors import BusUnavailableError, StoreUnavailableError

BASE = "/api/v1/workflow-executions"


async def test_completed_pipeline_shows_stages_tasks_and_history(client, orchestrator):
    await orchestrator.start("deploy_pipeline", {"env": "prod"}, id="run-1")
    for number in range(3):
        await orchestrator.succeed("run-1", {"n": number})
    instance = (await client.get(f"{BASE}/run-1")).json()
    assert instance["status"] == instance["summary"] == "completed"
    assert instance["completed_tasks"] == ["provision", "migrate_db", "smoke_test"]
    assert instance["current_tasks"] == instance["failed_tasks"] == []
    assert instance["error"] is None
    assert [stage["stage"] for stage in instance["stages"]] == instance["completed_tasks"]
    tasks = (await client.get(f"{BASE}/run-1/tasks")).json()["items"]
    assert [task["result"] for task in tasks] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert tasks[0]["task_index"] == tasks[0]["retry_count"] == tasks[0]["max_retries"] == 0
    assert tasks[0]["attempts"][0]["agent"] == "a1"
    history = (await client.get(f"{BASE}/run-1/history")).json()
    assert history["next_after"] is None
    assert history["items"][0]["type"] == "WorkflowStarted"
    assert history["items"][-1]["type"] == "WorkflowCompleted"


async def test_failed_saga_says_why_and_from_where_it_was_undone(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1", "no answer on port 80")
    during = (await client.get(f"{BASE}/run-1")).json()
    assert during["status"] == "compensating"
    assert during["current_tasks"] == ["migrate_db"]
    assert during["failed_tasks"] == ["smoke_test"]
    await orchestrator.succeed("run-1")
    await orchestrator.succeed("run-1")
    after = (await client.get(f"{BASE}/run-1")).json()
    assert after["status"] == "rolled_back"
    assert after["rollback"] == "full"
    assert after["error"]["reason"] == "step_failed:smoke_test"
    assert after["error"]["compensate_from_idx"] == 1
    assert after["error_message"] == "no answer on port 80"
    assert after["completed_tasks"] == ["provision", "migrate_db"]
    tasks = (await client.get(f"{BASE}/run-1/tasks", params={"stage": "provision"})).json()
    assert [task["kind"] for task in tasks["items"]] == ["task", "compensation"]


async def test_failed_first_stage_leaves_nothing_to_compensate(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.fail("run-1")
    instance = (await client.get(f"{BASE}/run-1")).json()
    assert instance["status"] == "failed"
    assert instance["error"]["compensate_from_idx"] == -1


async def test_failed_compensation_is_named_and_the_rollback_partial(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1")
    await orchestrator.fail("run-1", "cannot undo")
    instance = (await client.get(f"{BASE}/run-1")).json()
    assert instance["summary"] == "failed, rollback partial"
    assert instance["failed_compensations"][0]["error"]["message"] == "cannot undo"
    assert instance["stages"][0]["status"] == "compensation_failed"


async def test_approval_is_asked_for_and_given_once(client, orchestrator):
    await orchestrator.start("release", id="run-1")
    waiting = (await client.get(f"{BASE}/run-1")).json()
    assert waiting["status"] == "waiting"
    assert waiting["waiting_for"] == ["publish"]
    body = {"stage": "publish", "by": "ada", "reason": "looks good"}
    headers = {"Idempotency-Key": "c-1"}
    first = await client.post(f"{BASE}/run-1/approve", json=body, headers=headers)
    repeated = await client.post(f"{BASE}/run-1/approve", json=body, headers=headers)
    assert first.status_code == repeated.status_code == 200
    assert first.json() == repeated.json()
    assert first.json()["command"] == "c-1"
    second = await client.post(f"{BASE}/run-1/approve", json=body)
    assert second.status_code == 409
    approval = (await client.get(f"{BASE}/run-1")).json()["stages"][0]["approval"]
    assert (approval["decision"], approval["by"], approval["reason"]) == (
        "approved",
        "ada",
        "looks good",
    )


async def test_rejected_stage_fails_the_workflow(client, orchestrator):
    await orchestrator.start("release", id="run-1")
    body = {"stage": "publish", "reason": "not on a Friday"}
    assert (await client.post(f"{BASE}/run-1/reject", json=body)).status_code == 200
    instance = (await client.get(f"{BASE}/run-1")).json()
    assert instance["status"] == "failed"
    assert instance["error"]["type"] == "rejected"


async def test_cancel_undoes_and_ends_cancelled(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    reply = await client.post(f"{BASE}/run-1/cancel", json={"by": "ada"})
    assert reply.status_code == 200
    await orchestrator.succeed("run-1")
    instance = (await client.get(f"{BASE}/run-1")).json()
    assert instance["status"] == "cancelled"
    assert instance["error"]["reason"] == "cancelled"
    assert instance["rollback"] == "full"
    assert (await client.post(f"{BASE}/run-1/cancel")).status_code == 409


@pytest.mark.parametrize("path", ["", "/tasks", "/history", "/events"])
async def test_unknown_instance_is_not_found(client, path):
    reply = await client.get(f"{BASE}/nope{path}")
    assert reply.status_code == 404
    assert reply.json()["code"] == "instance_not_found"


async def test_lists_are_newest_first_filtered_and_paged(client, orchestrator):
    for number in range(5):
        await orchestrator.start("deploy_pipeline", id=f"run-{number}")
    await orchestrator.start("release", id="other")
    first = (await client.get(BASE, params={"workflow": "deploy_pipeline", "limit": 3})).json()
    assert [item["id"] for item in first["items"]] == ["run-4", "run-3", "run-2"]
    rest = (
        await client.get(
            "/api/v1/workflows/deploy_pipeline/executions", params={"cursor": first["cursor"]}
        )
    ).json()
    assert [item["id"] for item in rest["items"]] == ["run-1", "run-0"]
    assert rest["cursor"] is None
    waiting = (await client.get(BASE, params={"status": "waiting"})).json()
    assert [item["id"] for item in waiting["items"]] == ["other"]
    assert (await client.get(BASE, params={"status": "asleep"})).status_code == 422


async def test_history_is_paged(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    first = (await client.get(f"{BASE}/run-1/history", params={"limit": 1})).json()
    assert [item["seq"] for item in first["items"]] == [1]
    rest = (await client.get(f"{BASE}/run-1/history", params={"after": 1})).json()
    assert rest["items"][0]["seq"] == 2


async def tasks_of(client, **params):
    page = (await client.get(f"{BASE}/run-1/tasks", params=params)).json()
    return [each["task"] for each in page["items"]], page["next_offset"]


async def test_tasks_are_paged_and_the_last_page_leads_nowhere(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    for _ in range(2):
        await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1")
    await orchestrator.succeed("run-1")
    every = [
        *("provision-1-0", "migrate_db-1-0", "smoke_test-1-0"),
        *("migrate_db-1-0-undo-0", "provision-1-0-undo-0"),
    ]
    assert await tasks_of(client) == (every, None)
    assert await tasks_of(client, limit=2) == (every[:2], 2)
    assert await tasks_of(client, limit=2, offset=2) == (every[2:4], 4)
    assert await tasks_of(client, limit=2, offset=4) == (every[4:], None)
    assert await tasks_of(client, limit=5) == (every, None)
    assert await tasks_of(client, offset=5) == ([], None)
    of_stage = [every[0], every[4]]
    assert await tasks_of(client, stage="provision", limit=1) == (of_stage[:1], 1)
    assert await tasks_of(client, stage="provision", limit=1, offset=1) == (of_stage[1:], None)


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 10_001}, {"offset": -1}])
async def test_pages_that_cannot_be_are_refused(client, orchestrator, params):
    await orchestrator.start("deploy_pipeline", id="run-1")
    reply = await client.get(f"{BASE}/run-1/tasks", params=params)
    assert reply.status_code == 422
    assert next(iter(params)) in reply.json()["message"]


async def test_waiting_for_an_instance_ends_with_it(client, orchestrator):
    await orchestrator.start("release", id="run-1")
    still = await client.get(f"{BASE}/run-1", params={"wait": 0.01})
    assert still.json()["status"] == "waiting"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.get(f"{BASE}/run-1", params={"wait": 30}))
        await orchestrator.cancel("run-1")
    assert waiting.result().json()["status"] == "cancelled"


def frames(text: str) -> list[dict[str, str]]:
    return [
        dict(line.split(": ", 1) for line in frame.split("\n"))
        for frame in text.strip().split("\n\n")
    ]


async def test_events_stream_from_the_first_to_the_end(client, orchestrator):
    await orchestrator.start("release", id="run-1")
    async with asyncio.TaskGroup() as group:
        stream = group.create_task(client.get(f"{BASE}/run-1/events"))
        await orchestrator.approve_stage("run-1", "publish")
        await orchestrator.succeed("run-1")
    reply = stream.result()
    assert reply.headers["content-type"].startswith("text/event-stream")
    *entries, end = frames(reply.text)
    assert [int(entry["id"]) for entry in entries] == list(range(1, len(entries) + 1))
    assert json.loads(entries[0]["data"])["type"] == "WorkflowStarted"
    assert json.loads(entries[-1]["data"])["type"] == "WorkflowCompleted"
    assert end == {"event": "end", "data": '{"status":"completed"}'}


async def test_events_resume_after_the_last_one_seen(client, orchestrator):
    await orchestrator.start("release", id="run-1")
    await orchestrator.cancel("run-1")
    last = orchestrator.states["run-1"].row.seq
    rest = await client.get(f"{BASE}/run-1/events", headers={"Last-Event-ID": str(last - 1)})
    assert [frame.get("id") for frame in frames(rest.text)] == [str(last), None]
    done = await client.get(f"{BASE}/run-1/events", headers={"Last-Event-ID": str(last)})
    assert done.status_code == 204


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StoreUnavailableError("the database at X is away"), "store_unavailable"),
        (BusUnavailableError("the bus at Y is away"), "bus_unavailable"),
    ],
)
async def test_missing_database_or_bus_is_503_and_says_so(client, orchestrator, failure, code):
    orchestrator.failure = failure
    reply = await client.get(BASE)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json() == {"code": code, "message": str(failure)}
