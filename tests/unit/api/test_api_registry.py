"""Workflows over HTTP: registered, changed, deleted, listed; packs and actions."""

import json

import httpx
import pytest

from sagabus.api.application import create_app
from tests.support.registry_orchestrator import RegistryOrchestrator, workflow

YAML = {"Content-Type": "application/yaml"}
ANN = {"by": "ann"}


@pytest.fixture
def orchestrator(tmp_path):
    return RegistryOrchestrator(tmp_path)


async def create(client, text, pack="shop", **headers):
    return await client.post(
        f"/api/v1/packs/{pack}/workflows", content=text, params=ANN, headers={**YAML, **headers}
    )


async def put(client, text, ref, **headers):
    return await client.put(
        f"/api/v1/workflows/{ref}", content=text, params=ANN, headers={**YAML, **headers}
    )


async def test_a_workflow_is_created_in_a_pack(client):
    reply = await create(client, workflow("shop.deliver"))
    assert reply.status_code == 201
    assert reply.headers["ETag"] == '"1"'
    assert reply.headers["Location"] == "/api/v1/workflows/shop.deliver"
    document = reply.json()
    assert (document["name"], document["pack"], document["version"]) == ("shop.deliver", "shop", 1)
    assert (document["by"], document["format"]) == ("ann", "yaml")
    assert document["text"] == workflow("shop.deliver")
    found = await client.get("/api/v1/workflows/shop.deliver")
    assert found.json()["digest"] == document["digest"]
    assert found.headers["ETag"] == '"1"'


async def test_a_json_document_has_the_same_keys(client):
    document = {"ref": "shop.deliver", "tasks": [{"name": "work", "action": "devops.work"}]}
    reply = await client.put("/api/v1/workflows/shop.deliver", json=document)
    assert reply.status_code == 200
    assert reply.json()["format"] == "json"
    assert json.loads(reply.json()["text"]) == document
    assert (await client.get("/api/v1/workflows/shop.deliver")).json()["stages"][0]["agents"] == [
        "devops"
    ]


async def test_a_workflow_that_exists_is_not_created_again(client):
    await create(client, workflow("shop.deliver"))
    again = await create(client, workflow("shop.deliver", "tester"))
    assert again.status_code == 409
    assert again.json()["code"] == "conflict"
    assert "version 1 now" in again.json()["message"]


async def test_a_put_makes_a_version_and_the_same_again_makes_none(client):
    first = await put(client, workflow("deliver"), "deliver")
    again = await put(client, workflow("deliver"), "deliver")
    second = await put(client, workflow("deliver", "tester"), "deliver")
    assert [each.json()["version"] for each in (first, again, second)] == [1, 1, 2]
    assert second.headers["ETag"] == '"2"'
    listed = (await client.get("/api/v1/workflows/deliver/versions")).json()["items"]
    assert [(each["version"], each["text"]) for each in listed] == [(2, None), (1, None)]
    old = (await client.get("/api/v1/workflows/deliver", params={"version": 1})).json()
    assert (old["text"], old["is_deleted"]) == (workflow("deliver"), False)


@pytest.mark.parametrize("tag", ['"1"', "1", 'W/"1"'])
async def test_if_match_lets_only_the_version_that_was_read_be_changed(client, tag):
    await put(client, workflow("deliver"), "deliver")
    changed = await put(client, workflow("deliver", "tester"), "deliver", **{"If-Match": tag})
    assert changed.json()["version"] == 2
    late = await put(client, workflow("deliver", "other"), "deliver", **{"If-Match": tag})
    assert late.status_code == 409
    assert "version 2 now" in late.json()["message"]
    deleted = await client.delete("/api/v1/workflows/deliver", headers={"If-Match": tag})
    assert deleted.status_code == 409
    deleted = await client.delete("/api/v1/workflows/deliver", headers={"If-Match": '"2"'})
    assert deleted.status_code == 200


async def test_an_if_match_that_is_no_version_is_refused(client):
    reply = await put(client, workflow("deliver"), "deliver", **{"If-Match": "latest"})
    assert reply.status_code == 422
    assert "ETag" in reply.json()["message"]


async def test_a_file_of_the_same_name_wins(client):
    reply = await put(client, workflow("from_file"), "from_file")
    assert reply.status_code == 409
    assert "workflows.toml:3, and a file wins" in reply.json()["message"]
    assert (await client.delete("/api/v1/workflows/from_file")).status_code == 409
    assert (await create(client, workflow("shop.refund"))).status_code == 409


async def test_a_deleted_workflow_is_gone_for_new_starts(client):
    await put(client, workflow("deliver"), "deliver")
    deleted = await client.delete("/api/v1/workflows/deliver", params=ANN)
    assert deleted.status_code == 200
    assert (deleted.json()["version"], deleted.json()["is_deleted"]) == (2, True)
    assert (await client.get("/api/v1/workflows/deliver")).status_code == 404
    assert (await client.delete("/api/v1/workflows/deliver")).status_code == 404
    assert (await client.get("/api/v1/workflows/deliver/versions")).json()["items"][0]["by"] == (
        "ann"
    )
    assert (await client.get("/api/v1/workflows/nothing/versions")).status_code == 404
    missing = await client.get("/api/v1/workflows/deliver", params={"version": 9})
    assert missing.status_code == 404


async def test_every_problem_of_a_document_is_named_with_its_line(client):
    text = "ref: deliver\ncolour: red\ntasks:\n  - name: A-1\n    action: x.y\n    on_succes: b\n"
    reply = await put(client, text, "deliver")
    assert reply.status_code == 422
    document = reply.json()
    assert document["code"] == "invalid_workflow"
    lines = {problem["line"] for problem in document["problems"]}
    assert {2, 4, 6} <= lines
    assert all(problem["message"] in document["message"] for problem in document["problems"])
    assert (await client.get("/api/v1/workflows/deliver/versions")).status_code == 404


async def test_a_workflow_under_another_address_is_refused(client):
    reply = await put(client, workflow("deliver"), "refund")
    assert reply.status_code == 422
    assert "'deliver'" in reply.json()["message"]
    other = await create(client, workflow("other.deliver"))
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {"Content-Type": "application/json"}, 422, "line 1"),
        (b"[]", {"Content-Type": "application/json"}, 422, "not a JSON object"),
        (b"\xff", YAML, 422, "UTF-8"),
        (b"ref: x", {"Content-Type": "text/html"}, 415, "application/yaml"),
        (b"", YAML, 422, "one workflow belongs here"),
        (b"a: &a [*a]\n", YAML, 422, ""),
        (b"---\nref: a\n---\nref: b\n", YAML, 422, "there are 2"),
    ],
)
async def test_a_body_that_is_no_workflow_is_refused(client, body, headers, status, words):
    reply = await client.put("/api/v1/workflows/deliver", content=body, headers=headers)
    assert reply.status_code == status
    assert words in reply.json()["message"]


async def test_packs_are_listed_with_what_they_hold(client):
    await create(client, workflow("shop.deliver"))
    await create(client, workflow("extra.one"), pack="extra")
    items = (await client.get("/api/v1/packs")).json()["items"]
    assert [(each["ref"], each["workflows"], each["actions"]) for each in items] == [
        ("extra", ["extra.one"], []),
        ("shop", ["shop.deliver", "shop.refund"], ["shop.pay"]),
    ]
    shop = (await client.get("/api/v1/packs/shop")).json()
    assert (shop["label"], shop["version"], shop["is_registered_only"]) == (
        "The shop",
        "1.2.0",
        False,
    )
    listed = (await client.get("/api/v1/packs/shop/workflows")).json()["items"]
    assert [each["name"] for each in listed] == ["shop.deliver", "shop.refund"]
    missing = await client.get("/api/v1/packs/nothing")
    assert missing.status_code == 404
    assert "extra, shop" in missing.json()["message"]
    assert (await client.get("/api/v1/packs/nothing/workflows")).status_code == 404


async def test_a_pack_is_registered_as_a_whole_or_not_at_all(client):
    files = [
        {"file": "inner.yaml", "text": workflow("inner")},
        {"file": "outer.yaml", "text": workflow("shop.outer", action="shop.inner"), "line": 5},
    ]
    reply = await client.put("/api/v1/packs/shop", json={"workflows": files}, params=ANN)
    assert reply.status_code == 200
    assert [each["name"] for each in reply.json()["items"]] == ["shop.inner", "shop.outer"]
    files[0]["text"] = workflow("inner", "tester")
    files[1]["text"] += "    colour: red\n"
    refused = await client.put("/api/v1/packs/shop", json={"workflows": files}, params=ANN)
    assert refused.status_code == 422
    [problem] = refused.json()["problems"]
    assert (problem["file"], problem["line"]) == ("outer.yaml", 9)
    assert len((await client.get("/api/v1/workflows/shop.inner/versions")).json()["items"]) == 1


async def test_workflows_are_actions_like_any_other(client):
    await create(client, workflow("shop.deliver"))
    items = {each["ref"]: each for each in (await client.get("/api/v1/actions")).json()["items"]}
    assert {"core.echo", "shop.pay", "shop.refund", "shop.deliver", "from_file"} <= set(items)
    assert [ref for ref, each in items.items() if each["is_workflow"]] == [
        "from_file",
        "shop.deliver",
        "shop.refund",
    ]
    pay = items["shop.pay"]
    assert (pay["role"], pay["pack"], pay["description"]) == ("cashier", "shop", "Takes money")
    assert pay["parameters"]["amount"]["type"] == "number"
    assert items["core.echo"]["role"] is None


async def test_the_api_describes_itself(orchestrator):
    transport = httpx.ASGITransport(create_app(orchestrator))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert (await client.get("/docs")).status_code == 200
    assert {"put", "get", "delete"} <= set(paths["/api/v1/workflows/{ref}"])
    assert {"post", "get"} <= set(paths["/api/v1/packs/{ref}/workflows"])


async def test_one_that_a_change_of_the_files_has_broken_says_so(client, orchestrator, tmp_path):
    await create(client, workflow("shop.deliver", action="shop.pay\n    input: {amount: 1}"))
    actions = tmp_path / "packs/shop/actions/pay.yaml"
    actions.write_text(actions.read_text().replace("amount", "sum"))
    refund = tmp_path / "packs/shop/workflows/refund.yaml"
    refund.write_text(refund.read_text().replace("amount", "sum"))
    assert orchestrator.holder.reload()
    reply = await client.get("/api/v1/workflows/shop.deliver")
    assert reply.status_code == 404
    assert "version 1 of workflow 'shop.deliver' cannot be in force" in reply.json()["message"]
    assert "amount" in reply.json()["message"]


@pytest.mark.parametrize("name", ["core.echo", "core.mine"])
async def test_names_of_the_engine_cannot_be_taken(client, name):
    reply = await put(client, workflow(name), name)
    assert reply.status_code == 422
