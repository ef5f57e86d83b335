"""Resources and drift over HTTP."""

from urllib.parse import quote

import pytest

from sagabus.errors import BusUnavailableError, ResourceNotFoundError
from tests.support.sample_resources import BLIND, CLEAN, REPORT, fill

BASE = "/api/v1/resources"


async def test_resources_are_listed_by_filters_and_pages(client, orchestrator):
    fill(orchestrator.resources)
    page = (await client.get(BASE, params={"limit": 2})).json()
    assert [item["id"] for item in page["items"]] == ["../zones/a%2Fb?c#d", "vm-1"]
    rest = (await client.get(BASE, params={"cursor": page["cursor"]})).json()
    assert [item["id"] for item in rest["items"]] == ["vm-2"]
    assert rest["cursor"] is None
    for query, ids in (
        ({"kind": "dns"}, ["../zones/a%2Fb?c#d"]),
        ({"status": "gone"}, ["vm-2"]),
        ({"workflow": "provision", "status": "present"}, ["vm-1"]),
        ({"instance": "i2"}, ["vm-1"]),
        ({"kind": "nothing"}, []),
    ):
        found = (await client.get(BASE, params=query)).json()["items"]
        assert [item["id"] for item in found] == ids, query
    assert (await client.get(BASE, params={"status": "lost"})).status_code == 422
    assert (await client.get(BASE, params={"cursor": "?"})).status_code == 422


async def test_a_resource_is_shown_with_its_history(client, orchestrator):
    fill(orchestrator.resources)
    found = (await client.get(f"{BASE}/vm/vm-1")).json()
    assert (found["status"], found["spec"], found["spec_version"]) == ("present", {"size": "s"}, 2)
    assert (found["instance"], found["gone_at"]) == ("i2", None)
    story = [
        (entry["number"], entry["status"], entry["spec_version"], entry["instance"])
        for entry in found["history"]
    ]
    assert story == [
        (1, "present", 1, "i1"),
        (2, "present", 2, "i2"),
        (3, "gone", 2, "i1"),
    ]
    assert [entry["is_void"] for entry in found["history"]] == [False, False, True]
    gone = (await client.get(f"{BASE}/vm/vm-2")).json()
    assert gone["gone_at"] == gone["history"][-1]["at"]


async def test_an_id_may_look_like_a_path(client, orchestrator):
    fill(orchestrator.resources)
    quoted = quote("../zones/a%2Fb?c#d", safe="").replace(".", "%2E")
    assert (await client.get(f"{BASE}/dns/{quoted}")).json()["spec"] == {"ttl": 5}
    missing = await client.get(f"{BASE}/vm/nope")
    assert (missing.status_code, missing.json()["code"]) == (404, "resource_not_found")
    assert missing.json()["message"] == "there is no resource vm 'nope'"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_drift_is_reported_field_by_field(client, orchestrator, method):
    orchestrator.report = REPORT
    found = (await client.request(method, "/api/v1/drift", params={"kind": "vm", "wait": 5})).json()
    assert orchestrator.looks == [("vm", 5.0)]
    assert (found["has_drift"], found["is_complete"], found["observed"]) == (True, True, 3)
    assert [each["id"] for each in found["missing"]] == ["vm-1"]
    [changed] = found["changed"]
    assert (changed["id"], changed["instance"], changed["role"]) == ("vm-2", "i1", "devops")
    assert changed["fields"] == [
        {"path": "size", "change": "changed", "expected": "s", "found": "xl"},
        {"path": "tags.env", "change": "missing", "expected": "prod", "found": None},
        {"path": "public", "change": "added", "expected": None, "found": True},
    ]
    assert [(each["id"], each["gone_at"] is None) for each in found["unmanaged"]] == [
        ("stranger", True),
        ("ghost", False),
    ]


async def test_what_was_not_observed_is_named(client, orchestrator):
    orchestrator.report = BLIND
    found = (await client.get("/api/v1/drift")).json()
    assert orchestrator.looks == [(None, 30.0)]
    assert not found["is_complete"]
    assert found["unobserved"] == [
        {
            "role": "network",
            "kind": "dns",
            "resources": 2,
            "reason": "no agent of role 'network' is alive",
        }
    ]
    orchestrator.report = CLEAN
    assert not (await client.get("/api/v1/drift")).json()["has_drift"]


async def test_drift_refuses_what_makes_no_sense_and_says_when_it_cannot_look(client, orchestrator):
    for wait in ("0", "301", "nan", "x"):
        answer = await client.get("/api/v1/drift", params={"wait": wait})
        assert answer.status_code == 422, wait
    orchestrator.failure = BusUnavailableError("no connection")
    assert (await client.get("/api/v1/drift")).status_code == 503


async def test_a_look_ends_with_the_server(client, orchestrator):
    orchestrator.report = CLEAN
    client._transport.app.state.closing.close()
    answer = await client.get("/api/v1/drift")
    assert (answer.status_code, answer.json()["message"]) == (
        503,
        "the orchestrator is stopping: ask again",
    )


async def test_drift_of_a_kind_that_nobody_declared_is_not_found(client, orchestrator):
    orchestrator.failure = ResourceNotFoundError("no resource of kind 'vn' was ever declared")
    reply = await client.get("/api/v1/drift", params={"kind": "vn"})
    assert (reply.status_code, reply.json()["code"]) == (404, "resource_not_found")
