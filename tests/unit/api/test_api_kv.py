"""Values and secrets over HTTP."""

import pytest

from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.secret_box import SecretBox

KV = "/api/v1/kv"


async def test_a_value_is_put_read_and_deleted(client):
    put = await client.put(f"{KV}/flags/a.b", json={"value": {"on": [True, None]}})
    got = await client.get(f"{KV}/flags/a.b")
    assert put.status_code == got.status_code == 200
    assert put.json() == got.json()
    assert got.json()["value"] == {"on": [True, None]}
    assert (got.json()["key"], got.json()["is_secret"]) == ("flags/a.b", False)
    gone = await client.delete(f"{KV}/flags/a.b")
    assert (gone.status_code, gone.json()) == (200, {"key": "flags/a.b"})
    assert (await client.get(f"{KV}/flags/a.b")).status_code == 404


async def test_a_secret_is_in_no_answer(client, orchestrator):
    put = await client.put(f"{KV}/token", json={"value": "s3cret", "is_secret": True})
    answers = [put, await client.get(f"{KV}/token"), await client.get(KV)]
    assert all("s3cret" not in answer.text for answer in answers)
    assert (put.json()["value"], put.json()["is_secret"]) == (None, True)
    assert await orchestrator.kv.reveal("token") == "s3cret"


async def test_a_secret_that_is_refused_is_not_repeated(client):
    reply = await client.put(f"{KV}/token", json={"value": ["s3cret"], "is_secret": True})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    assert "s3cret" not in reply.text
    reply = await client.put(f"{KV}/token", json={"value": "s3cret", "is_secret": True, "x": 1})
    assert reply.status_code == 422
    assert "s3cret" not in reply.text


async def test_keys_are_listed_in_pages(client):
    for key in ("a.1", "a.2", "a.3", "b"):
        await client.put(f"{KV}/{key}", json={"value": key})
    first = (await client.get(KV, params={"prefix": "a.", "limit": 2})).json()
    second = (
        await client.get(KV, params={"prefix": "a.", "limit": 2, "cursor": first["cursor"]})
    ).json()
    assert [item["key"] for item in first["items"] + second["items"]] == ["a.1", "a.2", "a.3"]
    assert second["cursor"] is None


@pytest.mark.parametrize("key", ["..", "a/../b", "a:b", "-"])
async def test_every_key_can_stand_in_a_path(client, key):
    path = f"{KV}/{key.replace('/', '%2F').replace('.', '%2E')}"
    assert (await client.put(path, json={"value": 1})).json()["key"] == key


async def test_what_cannot_be_stored_is_said_in_one_sentence(client, orchestrator):
    assert (await client.put(f"{KV}/a%20b", json={"value": 1})).status_code == 422
    assert (await client.put(f"{KV}/a", json={})).status_code == 422
    large = await client.put(f"{KV}/a", json={"value": "x" * 70_000})
    assert large.status_code == 422
    assert "at most 65,536" in large.json()["message"]
    assert (await client.delete(f"{KV}/a")).status_code == 404
    orchestrator.kv = MemoryKeyValues(SecretBox(None))
    keyless = await client.put(f"{KV}/a", json={"value": "x", "is_secret": True})
    assert keyless.status_code == 409
    assert "SAGABUS_SECRET_KEY" in keyless.json()["message"]
