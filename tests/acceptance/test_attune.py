"""The second seed's documents, as printed, with real agents: every route of every one of them.

All instances are started at once and end beside each other; the delays that the documents print
are waited for together. One file, because of that: every test looks at the same orchestrator.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.attune import (
    CASES,
    SCRIPTED,
    WORKFLOWS,
    Site,
    health_page,
    ready_made,
    scripted,
    write_packs,
)
from tests.support.processes import Orchestrator, all_of, until
from tests.support.scripted_agent import most_at_once

DEPLOY = "my_pack.deploy_application"
NO = {"refused": ["refused", "told to fail"]}
BUSY = {"error": ["not_ready", "0 of 3 pods"]}

#: Instances of ``deploy_application``: name of the application, and stages in their order.
ROUTES = {
    "good": (
        "shop",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "update_deployment_status notify_success",
    ),
    "ready_late": (
        "shop",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "update_deployment_status notify_success",
    ),
    "no_create": ("no-create", "create_deployment notify_failure"),
    "no_image": ("shop", "create_deployment build_image cleanup_deployment notify_failure"),
    "no_containers": (
        "shop",
        "create_deployment build_image deploy_containers "
        "rollback_deployment cleanup_deployment notify_failure",
    ),
    "never_ready": (
        "shop",
        "create_deployment build_image deploy_containers wait_for_ready "
        "rollback_deployment cleanup_deployment notify_failure",
    ),
    "no_health": (
        "no-health",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "rollback_deployment cleanup_deployment notify_failure",
    ),
    "no_update": (
        "no-update",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "update_deployment_status",
    ),
    "no_rollback": (
        "no-health",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "rollback_deployment cleanup_deployment notify_failure",
    ),
    "no_cleanup": (
        "no-cleanup",
        "create_deployment build_image cleanup_deployment notify_failure",
    ),
    "nobody_told": (
        "shop",
        "create_deployment build_image deploy_containers wait_for_ready health_check "
        "update_deployment_status notify_success",
    ),
    "nobody_told_either": ("no-create", "create_deployment notify_failure"),
}
SCRIPT = {
    "build_image": {"output": {"image_uri": "registry.example:5000/shop:1.2"}},
    "ready_late/wait_for_ready": [BUSY, {"output": {"ready": 3}}],
    "no_image/build_image": NO,
    "no_cleanup/build_image": NO,
    "no_containers/deploy_containers": NO,
    "never_ready/wait_for_ready": BUSY,
    "no_rollback/rollback_deployment": NO,
    "nobody_told/notify_success": NO,
    "nobody_told_either/notify_failure": NO,
    "a_check_fails/check_redis": NO,
    "a_region_fails/deploy_to_regions-1-1": NO,
    "deploy_to_regions": {"output": {"host": "vm"}},
    "process_large_dataset": {"output": "done", "takes": 0.2},
    "ill/long_running_task": NO,
    "slow/long_running_task": {"error": ["timeout", "no result within 3600 s"]},
    "too_slow/long_running_task": {"takes": 30},
}
#: Instances of the other documents, with their parameters.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "checks_pass": ("parallel_checks", {}),
    "a_check_fails": ("parallel_checks", {}),
    "regions": ("with_items", {"regions": ["eu", "us", "ap"], "instance_type": "large"}),
    "a_region_fails": ("with_items", {"regions": ["eu", "us", "ap"]}),
    "no_region": ("with_items", {"regions": []}),
    "batches": ("batches", {}),
    "many_batches": ("many_batches", {}),
    "in_dev": ("conditional", {"app_name": "shop"}),
    "yes": ("conditional", {"app_name": "shop", "environment": "production"}),
    "no": ("conditional", {"app_name": "shop", "environment": "production"}),
    "nothing_said": ("conditional", {"app_name": "shop", "environment": "production"}),
    "nobody_listens": ("retry", {}),
    "trained": ("timeout", {}),
    "ill": ("timeout", {}),
    "slow": ("timeout", {}),
    "too_slow": ("timeout_soon", {}),
    "nested": ("subworkflow", {"app_name": "shop"}),
    "nested_handled": ("subworkflow", {"app_name": "no-health", "region": "us-2"}),
    "nested_failed": ("subworkflow", {"app_name": "no-update"}),
    "rendered": ("templates", {}),
    "sequence": ("simple_sequence", {}),
}


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    """The same packs with an agent in place of ``http`` whose calls run out of time."""
    directory = tmp_path_factory.mktemp("retrying")
    write_packs(directory)
    slow = {"error": ["timeout", "GET: no answer within 30 s"]}
    script = {
        "timeout_once/flaky_api_call": [slow, {"output": {"status_code": 200}}],
        "timeout_then_refused/flaky_api_call": [slow, {"error": ["connection", "refused"]}],
        "timeouts/flaky_api_call": slow,
    }
    with (
        Orchestrator(directory, WORKFLOWS) as orchestrator,
        scripted(directory, orchestrator.nats_url, ("http",), script),
    ):
        for id in ("timeout_once", "timeout_then_refused"):
            orchestrator.start_instance("seed.retry", id, {})
        yield orchestrator


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, retrying: Orchestrator) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("attune")
    write_packs(directory)
    with (
        health_page() as (health_url, asked),
        Orchestrator(directory, WORKFLOWS) as orchestrator,
        all_of(
            [
                scripted(directory, orchestrator.nats_url, SCRIPTED, SCRIPT),
                *ready_made(directory, orchestrator.nats_url, health_url),
            ]
        ),
    ):
        site = Site(directory, orchestrator, asked)
        for id, (app, _) in ROUTES.items():
            parameters = {"app_name": app, "version": f"1.{id}", "environment": "staging"}
            orchestrator.start_instance(DEPLOY, id, parameters)
        for id, (workflow, parameters) in OTHERS.items():
            orchestrator.start_instance(f"seed.{workflow}", id, parameters)
        yield site


def deploy_inputs(id: str, app: str) -> dict[str, Any]:
    """Every rendered input of ``deploy_application``, by stage."""
    version = f"1.{id}"
    return {
        "create_deployment": {"app_name": app, "version": version, "environment": "staging"},
        "build_image": {"app_name": app, "version": version, "registry": "registry.example:5000"},
        "deploy_containers": {
            "app_name": app,
            "image": "registry.example:5000/shop:1.2",
            "replicas": 3,
        },
        "wait_for_ready": {"deployment": app},
        "update_deployment_status": {"deployment_id": f"{app}-{version}", "status": "success"},
        "rollback_deployment": {"app_name": app},
        "notify_success": {
            "channel": "#deployments",
            "message": f"✅ Deployed {app} v{version} to staging",
        },
        "notify_failure": {
            "channel": "#deployments",
            "message": f"❌ Failed to deploy {app} v{version}",
        },
    }


def test_the_documents_are_the_printed_ones_and_valid(site: Site) -> None:
    packs = site.directory / "packs"
    for pack, document in (("my_pack", "deploy_application"), ("seed", "features")):
        path = packs / pack / "workflows" / f"{document}.yaml"
        assert path.read_bytes() == (CASES / f"{document}.yaml").read_bytes()
    names = {item["name"] for item in site.orchestrator.get("/api/v1/workflows")["items"]}
    assert names == {DEPLOY} | {f"seed.{workflow}" for workflow, _ in OTHERS.values()}
    said = site.run("validate", str(site.orchestrator.config))
    [warning] = [line for line in said.splitlines() if line.startswith("warning")]
    assert "features.yaml:75" in warning
    assert "`on_success`: the decision replaces it" in warning


@pytest.mark.parametrize("id", [id for id in ROUTES if id != "never_ready"])  # that one last
def test_deploy_application_goes_down_the_route_of_its_failure(site: Site, id: str) -> None:
    check_deployment(site, id)


def check_deployment(site: Site, id: str) -> None:
    """Stages in order, every rendered input, how it ended, and what it gives."""
    app, path = ROUTES[id]
    ended = site.ended(id)
    assert site.stages(id) == path.split()
    assert list(site.inputs(id)) == path.split()
    wanted = deploy_inputs(id, app)
    for stage, input in site.inputs(id).items():
        if stage == "health_check":
            assert input["url"].endswith(f"/{app}")
            assert input["expected_status"] == 200
        elif stage == "cleanup_deployment":
            is_rolled_back = "rollback_deployment" in path and id != "no_rollback"
            assert input == {"deployment_id": f"{app}-1.{id}", "rollback": is_rolled_back}
        else:
            assert input == wanted[stage]
    failed = {"no_update", "nobody_told", "nobody_told_either"}
    assert ended["status"] == ("failed" if id in failed else "completed")
    assert ended["rollback"] == "none"
    is_created = app != "no-create"
    is_updated = "update_deployment_status" in path and id != "no_update"
    assert ended["output"] == {
        "deployment_id": f"{app}-1.{id}" if is_created else None,
        "status": "success" if is_updated else None,
        "deployed_version": f"1.{id}",
    }
    handled = {"good": 0, "ready_late": 0, "nobody_told": 0, "no_update": 0}
    twice = {"no_rollback": 2, "no_cleanup": 2}
    assert ended["handled_failures"] == (handled | twice).get(id, 1)
    assert ended["warnings"] == []


def test_deployment_that_is_ready_at_the_second_look_goes_on(site: Site) -> None:
    site.ended("ready_late")
    [task] = [one for one in site.tasks("ready_late") if one["task_name"] == "wait_for_ready"]
    assert (task["retry_count"], task["max_retries"], task["result"]) == (1, 3, {"ready": 3})
    assert waits_before_retries(task)[0] >= 9  # the printed 10 s, less jitter of a tenth at most


def waits_before_retries(task: dict[str, Any]) -> list[float]:
    """Seconds between the end of an attempt and the next one."""
    begun = [datetime.fromisoformat(one["created_at"]) for one in task["attempts"][1:]]
    ended = [datetime.fromisoformat(one["ended_at"]) for one in task["attempts"][:-1]]
    return [(b - e).total_seconds() for e, b in zip(ended, begun, strict=True)]


def test_rehearsed_deployment_that_is_never_ready_is_rolled_back(site: Site) -> None:
    outcomes = site.directory / "never_ready.json"
    script = {
        "outcomes": {
            "create_deployment": {"output": {"id": "shop-1", "health_url": "http://shop/"}},
            "build_image": {"output": {"image_uri": "registry/shop:1"}},
            "wait_for_ready": [{"timeout": True}, *3 * [{"error": "not_ready"}]],
        },
        "expect": {
            "status": "completed",
            "handled_failures": 1,
            "path": ROUTES["never_ready"][1].split(),
            "inputs": {"cleanup_deployment": {"deployment_id": "shop-1", "rollback": True}},
            "output": {"deployment_id": "shop-1", "status": None, "deployed_version": "1"},
        },
    }
    outcomes.write_text(json.dumps(script))
    rehearse = ("rehearse", DEPLOY, "--file", str(site.orchestrator.config))
    parameters = ("-p", "app_name=shop", "-p", "version=1")
    said = site.run(*rehearse, *parameters, "--outcomes", str(outcomes))
    assert said.count("wait_for_ready-1-0 wait_for_ready to kubernetes") == 4


def test_agents_and_the_world_saw_what_was_rendered(site: Site) -> None:
    site.ended("no_health")
    inputs = site.inputs("no_health")
    asked = {line["stage"]: line["input"] for line in site.asked("no_health")}
    assert asked == {stage: inputs[stage] for stage in asked}
    assert list(asked) == [
        *("build_image", "deploy_containers", "wait_for_ready"),
        *("rollback_deployment", "notify_failure"),
    ]
    mine = [one for one in site.records() if one["id"] == "no-health-1.no_health"]
    assert mine[0]["created"] == inputs["create_deployment"]
    assert mine[1]["cleaned"] == {"rollback": True}
    assert "/no-health" in site.health


def test_ended_with_a_handled_failure_says_so_and_ends_start_with_3(site: Site) -> None:
    site.ended("no_image")
    parameters = ("-p", "app_name=shop", "-p", "version=1.no_image", "-p", "environment=staging")
    start = ("start", DEPLOY, "--id", "no_image", *parameters, "--wait")
    assert "completed, 1 failure handled" in site.run(*start, code=3)
    assert "completed, 1 failure handled" in site.run("show", "no_image")
    graph = site.run("graph", "--instance", "no_image")
    assert "build_image [failed]" in graph
    assert "failure ⇒ cleanup_deployment" in graph


def test_start_refuses_what_the_parameters_do_not_allow_all_at_once(site: Site) -> None:
    said = site.run("start", DEPLOY, "-p", "environment=moon", "-p", "apname=shop", code=1)
    for name in ("app_name", "version", "apname"):
        assert f"`{name}`" in said
    assert "'moon' is none of 'dev', 'staging' or 'production'" in said


def test_parallel_checks_run_together_and_lead_on(site: Site) -> None:
    checks = ["check_database", "check_redis", "check_rabbitmq"]
    assert site.ended("checks_pass")["status"] == "completed"
    assert site.stages("checks_pass") == ["parallel_checks", *checks, "deploy_app"]
    sent = [
        e["data"]["task"]
        for e in site.orchestrator.history("checks_pass")
        if e["type"] in {"TaskScheduled", "TaskCompleted"}
    ]
    assert set(sent[:3]) == {f"{name}-1-0" for name in checks}
    assert site.inputs("checks_pass") == {
        **{name: {"previous": {}} for name in checks},
        "deploy_app": {"previous": {"parallel_checks": {name: {} for name in checks}}},
    }
    failed = site.ended("a_check_fails")
    assert (failed["status"], failed["handled_failures"]) == ("completed", 1)
    assert site.stages("a_check_fails") == ["parallel_checks", *checks, "abort_deployment"]
    assert {line["stage"] for line in site.asked("a_check_fails")} == set(checks)


def test_with_items_has_one_task_per_element_in_order(site: Site) -> None:
    assert site.ended("regions")["status"] == "completed"
    deployed = [task for task in site.tasks("regions") if task["task_name"] == "deploy_to_regions"]
    assert [task["input"] for task in deployed] == [
        {"region": region, "position": position, "instance_type": "large"}
        for position, region in enumerate(["eu", "us", "ap"])
    ]
    assert site.inputs("regions")["verify_deployments"] == {"count": 3}
    failed = site.ended("a_region_fails")
    assert (failed["status"], failed["rollback"]) == ("failed", "none")
    assert site.stages("a_region_fails") == ["deploy_to_regions"]
    assert len(site.asked("a_region_fails")) == 6  # all run, though one of them fails
    assert site.ended("no_region")["status"] == "completed"
    assert site.inputs("no_region") == {"verify_deployments": {"count": 0}}


def test_batches_are_lists_and_five_are_under_way_at_most(site: Site) -> None:
    few = site.ended("batches")
    assert (few["status"], few["output"]) == ("completed", {"total": 3})
    assert [task["input"] for task in site.tasks("batches")] == [
        {"records": [1, 2, 3], "batch_num": 0}
    ]
    many = site.ended("many_batches")
    assert (many["status"], many["output"]) == ("completed", {"total": 1150})
    assert [task["input"] for task in site.tasks("many_batches")] == [
        {"records": list(range(1150))[first : first + 100], "batch_num": first // 100}
        for first in range(0, 1150, 100)
    ]
    assert most_at_once(site.asked("many_batches")) == 5


def test_condition_that_is_false_ends_the_branch(site: Site) -> None:
    ended = site.ended("in_dev")
    assert (ended["status"], ended["output"]) == ("completed", {})
    assert [(s["stage"], s["status"]) for s in ended["stages"]] == [
        ("check_environment", "skipped")
    ]


def test_production_is_asked_for_and_the_answer_decides(site: Site) -> None:
    until_waiting(site, "yes")
    shown = site.run("show", "yes")
    assert "Approve production deployment of shop?" in shown
    assert "sagabus answer yes require_approval" in shown
    answer = ("answer", "yes", "require_approval", "--data")
    [refused] = site.run(*answer, '{"approved": "sure"}', code=1).splitlines()
    assert "`approved`: 'sure' does not fit; write true or false" in refused
    assert site.orchestrator.instance("yes")["status"] == "waiting"
    site.run(*answer, '{"approved": true}')
    until_waiting(site, "no")
    document = {"stage": "require_approval", "data": {"approved": False}}
    site.orchestrator.post("/api/v1/workflow-executions/no/answer", document)
    for id, approved, stage in (("yes", True, "deploy_app"), ("no", False, "cancel_deployment")):
        assert site.ended(id)["status"] == "completed"
        assert site.stages(id) == ["check_environment", "require_approval", stage]
        [task] = [one for one in site.tasks(id) if one["task_name"] == "require_approval"]
        assert task["result"] == {"approved": approved}
    assert site.run(*answer, '{"approved": false}', code=1)  # too late
    [line] = [line for line in site.asked("yes") if line["phase"] == "start"]
    assert (line["role"], line["action"]) == ("cloud", "deploy_instance")
    assert not site.asked("no")


def test_answer_without_what_the_decision_reads_fails_and_names_the_expression(site: Site) -> None:
    until_waiting(site, "nothing_said")
    site.run("answer", "nothing_said", "require_approval", "--data", "{}")
    failed = site.ended("nothing_said")
    assert (failed["status"], failed["error"]["type"]) == ("failed", "template_error")
    for part in ("require_approval", "decision", "approved"):
        assert part in failed["error"]["message"], failed["error"]


def until_waiting(site: Site, id: str) -> dict[str, Any]:
    """The instance, once it waits for a person."""

    def waiting() -> dict[str, Any] | None:
        found = site.orchestrator.instance(id)
        return found if found["status"] == "waiting" else None

    return until(waiting, f"{id} waits")


def test_call_that_nobody_answers_is_no_timeout_and_not_tried_again(site: Site) -> None:
    ended = site.ended("nobody_listens")
    assert (ended["status"], ended["handled_failures"]) == ("completed", 1)
    assert site.stages("nobody_listens") == ["flaky_api_call", "log_error"]
    [call, _] = site.tasks("nobody_listens")
    assert (call["retry_count"], call["max_retries"]) == (0, 5)
    assert call["input"] == {"url": "http://127.0.0.1/none"}


def test_timeout_has_a_route_and_other_failures_have_none(site: Site) -> None:
    assert site.ended("trained")["status"] == "completed"
    assert site.stages("trained") == ["long_running_task"]
    for id in ("slow", "too_slow"):
        slow = site.ended(id)
        assert (slow["status"], slow["handled_failures"]) == ("completed", 1)
        assert [(s["stage"], s["status"]) for s in slow["stages"]] == [
            ("long_running_task", "timed_out"),
            ("cleanup_and_notify", "succeeded"),
        ]
    ill = site.ended("ill")
    assert (ill["status"], ill["error"]["type"]) == ("failed", "refused")
    assert site.stages("ill") == ["long_running_task"]
    assert site.inputs("ill") == {"long_running_task": {"dataset": "/data"}}


def test_sub_workflows_carry_out_stages(site: Site) -> None:
    nested = site.ended("nested")
    assert nested["status"] == "completed"
    provision, deploy = site.tasks("nested")
    assert provision["input"] == {"regions": ["eu-1"]}
    assert deploy["input"] == {"app_name": "shop", "version": "1", "environment": "dev"}
    assert provision["result"] == {}
    assert deploy["result"] == {
        "deployment_id": "shop-1",
        "status": "success",
        "deployed_version": "1",
    }
    tree = site.run("show", "nested", "--tree").splitlines()
    assert [line.split()[:2] for line in tree] == [
        ["seed.subworkflow", "nested"],
        ["provision_infrastructure-1-0:", "seed.with_items"],
        ["deploy_application-1-0:", DEPLOY],
    ]


def test_failure_handled_below_is_none_above_and_another_one_is(site: Site) -> None:
    handled = site.ended("nested_handled")
    assert (handled["status"], handled["handled_failures"]) == ("completed", 0)
    assert site.tasks("nested_handled")[1]["result"]["status"] is None
    assert "completed, 1 failure handled" in site.run("show", "nested_handled", "--tree")
    failed = site.ended("nested_failed")
    assert (failed["status"], failed["error"]["stage"]) == ("failed", "deploy_application")
    assert "told to fail" in failed["error"]["message"]


def test_every_template_gives_what_is_written(site: Site) -> None:
    rendered = {
        "message": "SHOP",
        "path": "/srv/logs",
        "config": {"a": 1},
        "payload": '{"k":[1,2]}',
        "regions": [{"name": "a", "enabled": True}],
        "first_region": {"name": "a", "enabled": True},
        "count": 2,
        "batches": [[1], [2]],
        "status": "unknown",
        "url": "https://localhost",
        "flag": False,
    }
    site.ended("rendered")
    [task] = site.tasks("rendered")
    assert task["input"] == task["result"] == rendered
    site.run("kv", "set", "feature.flags.enabled", "--json", "true")
    site.orchestrator.start_instance("seed.templates", "flagged", {"app_name": "{{ 1 + 1 }}"})
    site.ended("flagged")
    [task] = site.tasks("flagged")
    assert task["result"] == rendered | {"flag": True, "message": "{{ 1 + 1 }}"}


def test_simple_sequence_runs_in_its_order(site: Site) -> None:
    assert site.ended("sequence")["status"] == "completed"
    assert [(t["task_name"], t["result"]) for t in site.tasks("sequence")] == [
        ("task1", {"message": "Task 1"}),
        ("task2", {"message": "Task 2"}),
    ]


def test_call_that_ran_out_of_time_is_tried_again_and_another_failure_is_not(
    retrying: Orchestrator,
) -> None:
    routes = {
        "timeout_once": ["flaky_api_call", "process_response"],
        "timeout_then_refused": ["flaky_api_call", "log_error"],
    }
    for id, route in routes.items():
        ended = until(lambda id=id: retrying.at_end(id), f"{id} ends", within_s=90)
        assert ended["status"] == "completed"
        assert [stage["stage"] for stage in ended["stages"]] == route
        path = f"/api/v1/workflow-executions/{id}/tasks"
        [call] = retrying.get(path, stage="flaky_api_call")["items"]
        assert call["retry_count"] == 1
        assert waits_before_retries(call)[0] >= 9


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_call_that_always_runs_out_of_time_is_tried_five_times_more_and_slower(
    retrying: Orchestrator,
) -> None:
    retrying.start_instance("seed.retry", "timeouts", {})
    until(lambda: retrying.at_end("timeouts"), "timeouts ends", within_s=300)
    [call, _] = retrying.get("/api/v1/workflow-executions/timeouts/tasks")["items"]
    waits = waits_before_retries(call)
    assert len(waits) == 5
    for wait, printed in zip(waits, (10, 20, 40, 60, 60), strict=True):
        assert 0.9 * printed <= wait < printed + 10


def test_deployment_that_is_never_ready_is_rolled_back_after_three_retries(site: Site) -> None:
    check_deployment(site, "never_ready")
    [task] = [one for one in site.tasks("never_ready") if one["task_name"] == "wait_for_ready"]
    waits = waits_before_retries(task)
    assert len(waits) == 3
    assert all(9 <= wait < 20 for wait in waits), waits
