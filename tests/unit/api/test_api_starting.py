"""Starting instances over HTTP."""

import pytest

EXECUTE = "/api/v1/workflows/deploy_pipeline/execute"


async def test_start_is_created_once_and_found_again(client):
    body = {"id": "run-1", "parameters": {"env": "prod"}, "by": "ada"}
    first = await client.post(EXECUTE, json=body)
    again = await client.post(EXECUTE, json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    document = first.json()
    assert document["id"] == "run-1"
    assert document["status"] == "running"
    assert document["parameters"] == {"env": "prod"}
    assert document["started_by"] == "ada"
    assert document["current_tasks"] == ["provision"]
    assert document["variables"] == {}


async def test_same_id_with_other_parameters_is_a_conflict(client):
    await client.post(EXECUTE, json={"id": "run-1", "parameters": {"env": "prod"}})
    reply = await client.post(EXECUTE, json={"id": "run-1", "parameters": {"env": "dev"}})
    assert reply.status_code == 409
    assert reply.json() == {
        "code": "conflict",
        "message": "instance 'run-1' exists with other parameters",
    }


async def test_start_needs_no_body(client):
    reply = await client.post(EXECUTE)
    assert reply.status_code == 201
    assert reply.json()["parameters"] == {}


async def test_idempotency_key_names_the_instance_of_a_start_without_id(client, orchestrator):
    headers = {"Idempotency-Key": "key-1"}
    first = await client.post(EXECUTE, headers=headers)
    again = await client.post(EXECUTE, headers=headers)
    assert first.json()["id"] == again.json()["id"] == "key-1"
    assert len(orchestrator.states) == 1


async def test_unknown_workflow_is_not_found(client):
    reply = await client.post("/api/v1/workflows/nope/execute", json={})
    assert reply.status_code == 404
    assert reply.json()["code"] == "workflow_not_found"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"id": "a b"}', "id"),
        ('{"parameters": []}', "parameters"),
        ('{"params": {}}', "params"),
        ('{"parameters": {"x": NaN}}', "body"),
        ('{"parameters": {"x": "\\ud800"}}', "body"),
        ('{"parameters": ' + '{"x":' * 2000 + "1" + "}" * 2000 + "}", "body"),
        ("{", "body"),
        ("[]", "body"),
    ],
)
async def test_bad_body_is_refused_by_name_and_starts_nothing(client, orchestrator, body, place):
    reply = await client.post(EXECUTE, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422
    assert reply.json()["code"] == "invalid_request"
    assert reply.json()["message"].startswith(place)
    assert not orchestrator.states


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/x-www-form-urlencoded", "was sent as application/x-www-form-urlencoded"),
        ("text/plain", "was sent as text/plain"),
        (None, "has no Content-Type"),
    ],
)
async def test_body_that_does_not_say_it_is_json_is_told_how_to_be_sent(
    client, orchestrator, content_type, said
):
    headers = {"Content-Type": content_type} if content_type else {}
    reply = await client.post(EXECUTE, content='{"parameters": {}}', headers=headers)
    assert reply.status_code == 422
    assert reply.json()["message"] == (
        f"body: {said}; send JSON with the header `Content-Type: application/json`"
    )
    # What a form of another site's page can send gives no command.
    assert not orchestrator.states


async def test_refusals_never_repeat_what_was_sent(client):
    reply = await client.post(EXECUTE, json={"parameters": "hunter2", "id": "hunter2 hunter2"})
    assert reply.status_code == 422
    assert "hunter2" not in reply.text


async def test_body_that_fits_no_message_is_refused(client, orchestrator):
    large = {"parameters": {"x": "x" * 1_000_000}}
    assert (await client.post(EXECUTE, json=large)).status_code == 413

    async def chunks():
        for _ in range(100):
            yield b'{"parameters":' + b" " * 20_000

    headers = {"Content-Type": "application/json"}
    streamed = await client.post(EXECUTE, content=chunks(), headers=headers)
    assert streamed.status_code == 413
    assert streamed.json()["code"] == "too_large"
    assert not orchestrator.states
