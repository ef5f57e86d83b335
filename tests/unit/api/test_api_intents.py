"""Final effects over HTTP: what is under way, what is held, and what an instance says of it."""

from sagabus.core.definition import Definition
from tests.support.memory_orchestrator import stage, undone_by

PAYMENT = Definition(
    name="payment",
    digest="d3",
    entry=("reserve",),
    stages={
        "reserve": stage("reserve", "devops", "charge", **undone_by("devops", "reserve")),
        "charge": stage("charge", "backend", classification="final"),
    },
)


async def held(orchestrator) -> None:
    """A payment of which nobody knows whether it was made."""
    orchestrator.definitions["payment"] = PAYMENT
    await orchestrator.start("payment", id="p1")
    await orchestrator.succeed("p1")
    await orchestrator.fail("p1", "the line broke", "unknown_outcome")


async def test_held_effect_is_listed_with_why_and_its_key(client, orchestrator):
    await held(orchestrator)
    found = (await client.get("/api/v1/intents", params={"held": True})).json()
    [intent] = found["items"]
    assert found["total"] == 1
    assert (intent["instance"], intent["workflow"], intent["stage"]) == ("p1", "payment", "charge")
    assert (intent["task"], intent["attempt"], intent["is_held"]) == ("charge-1-0", 1, True)
    assert intent["message"] == "a1 says unknown_outcome: the line broke"
    assert intent["idempotency_key"] == "p1:charge-1-0"
    assert intent["agent"] == "a1"


async def test_no_intents_are_an_empty_list(client):
    assert (await client.get("/api/v1/intents")).json() == {"items": [], "total": 0}


async def test_an_instance_says_what_an_operator_has_to_settle(client, orchestrator):
    await held(orchestrator)
    found = (await client.get("/api/v1/workflow-executions/p1")).json()
    [parked] = found["parked"]
    assert found["status"] == "needs_operator"
    assert (parked["cause"], parked["stage"], parked["task"]) == (
        "intent_unknown",
        "charge",
        "charge-1-0",
    )
    assert found["effect_classes"] == {"compensatable": 1, "final": 1}
    assert found["effects_left"] == []


async def test_an_instance_says_what_it_has_left(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="d1")
    await orchestrator.succeed("d1")
    await orchestrator.succeed("d1")
    await orchestrator.fail("d1")
    await orchestrator.fail("d1")
    await orchestrator.succeed("d1")
    found = (await client.get("/api/v1/workflow-executions/d1")).json()
    assert (found["status"], found["rollback"]) == ("failed", "partial")
    left = {"stage": "migrate_db", "task": "migrate_db-1-0", "class": "compensatable"}
    assert found["effects_left"] == [{**left, "is_certain": True}]


async def test_a_workflow_counts_its_stages_by_class(client, orchestrator):
    orchestrator.definitions["payment"] = PAYMENT
    found = (await client.get("/api/v1/workflows/payment")).json()
    assert found["effect_classes"] == {"compensatable": 1, "final": 1}
    assert [each["is_idempotent"] for each in found["stages"]] == [False, False]
