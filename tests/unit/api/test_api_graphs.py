"""Graphs over HTTP: of definitions, and of instances."""


async def test_definition_is_drawn_with_nothing_run(client):
    document = (await client.get("/api/v1/workflows/deploy_pipeline/graph")).json()
    assert document["workflow"] == "deploy_pipeline"
    assert document["instance"] is document["status"] is None
    assert document["entry"] == ["provision"]
    assert {node["name"]: node["status"] for node in document["nodes"]} == {
        "provision": None,
        "migrate_db": None,
        "smoke_test": None,
    }
    assert document["nodes"][0]["undone_by"] == ["devops"]
    assert [(edge["source"], edge["target"]) for edge in document["edges"]] == [
        ("provision", "migrate_db"),
        ("migrate_db", "smoke_test"),
    ]
    missing = await client.get("/api/v1/workflows/nope/graph")
    assert (missing.status_code, missing.json()["code"]) == (404, "workflow_not_found")


async def test_instance_shows_status_and_the_way_it_went(client, orchestrator):
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1", "disk full")
    path = "/api/v1/workflow-executions/run-1/graph"
    document = (await client.get(path)).json()
    assert (document["instance"], document["status"]) == ("run-1", "compensating")
    nodes = {node["name"]: node for node in document["nodes"]}
    assert nodes["migrate_db"]["status"] == "failed"
    assert "disk full" in nodes["migrate_db"]["error"]
    assert nodes["smoke_test"]["passes"] == 0
    assert [edge["is_taken"] for edge in document["edges"]] == [True, False]
    missing = await client.get("/api/v1/workflow-executions/nope/graph")
    assert (missing.status_code, missing.json()["code"]) == (404, "instance_not_found")


async def test_graphs_are_documented(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/api/v1/workflows/{ref}/graph" in paths
    assert "/api/v1/workflow-executions/{id}/graph" in paths
