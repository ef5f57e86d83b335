"""Metrics, fed by what the real machine decides."""

from sagabus.observe.children import MAX_LABEL_VALUES
from sagabus.observe.metrics import Metrics
from tests.support.memory_orchestrator import MemoryOrchestrator


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"sagabus_{name}", labels)


async def test_failure_counts_when_it_is_stored_and_the_rollback_when_it_ends():
    orchestrator = MemoryOrchestrator()
    metrics, flow = orchestrator.metrics, {"workflow": "deploy_pipeline"}
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1")
    assert value(metrics, "workflows_started_total", **flow) == 1
    assert value(metrics, "workflows_failed_total", **flow) == 1
    assert value(metrics, "workflows_rolled_back_total", **flow) is None
    await orchestrator.succeed("run-1")
    assert value(metrics, "workflows_failed_total", **flow) == 1
    assert value(metrics, "workflows_rolled_back_total", **flow) == 1
    assert value(metrics, "compensations_total", outcome="succeeded") == 1
    ended = {**flow, "outcome": "rolled_back"}
    assert value(metrics, "workflow_duration_seconds_count", **ended) == 1


async def test_completion_measures_workflow_stages_and_tasks():
    orchestrator = MemoryOrchestrator()
    await orchestrator.start("deploy_pipeline", id="run-1")
    for _ in range(3):
        await orchestrator.succeed("run-1")
    metrics, flow = orchestrator.metrics, {"workflow": "deploy_pipeline"}
    assert value(metrics, "workflows_completed_total", **flow) == 1
    assert value(metrics, "stage_duration_seconds_count", stage="migrate_db", **flow) == 1
    assert value(metrics, "task_duration_seconds_count", role="tester") == 1


async def test_cancel_and_failed_compensation_are_counted():
    orchestrator = MemoryOrchestrator()
    await orchestrator.start("deploy_pipeline", id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.cancel("run-1")
    await orchestrator.fail("run-1")
    metrics = orchestrator.metrics
    assert value(metrics, "workflows_cancelled_total", workflow="deploy_pipeline") == 1
    assert value(metrics, "workflows_failed_total", workflow="deploy_pipeline") is None
    assert value(metrics, "compensations_total", outcome="failed") == 1


def test_what_the_runtime_reports_is_exposed():
    metrics = Metrics("1.2.3")
    metrics.count_active_with(lambda: 7)
    metrics.committed(20, 0.004)
    metrics.ignored("duplicate_result")
    metrics.dead_letter("unknown_task")
    metrics.resent(3)
    metrics.config_reload(is_ok=False)
    metrics.set_queue("devops", 5, 1.5)
    metrics.set_inbox_lag(0, 12)
    assert value(metrics, "active_workflows") == 7
    assert value(metrics, "commit_batch_size_sum") == 20
    assert value(metrics, "commit_seconds_count") == 1
    assert value(metrics, "ignored_events_total", reason="duplicate_result") == 1
    assert value(metrics, "dead_letters_total", reason="unknown_task") == 1
    assert value(metrics, "resent_tasks_total") == 3
    assert value(metrics, "config_reloads_total", outcome="rejected") == 1
    assert value(metrics, "queue_depth", role="devops") == 5
    assert value(metrics, "queue_oldest_age_seconds", role="devops") == 1.5
    assert value(metrics, "inbox_lag", partition="0") == 12
    assert value(metrics, "build_info", version="1.2.3") == 1
    metrics.drop_partition(0)
    assert value(metrics, "inbox_lag", partition="0") is None


def test_two_orchestrators_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.resent()
    assert value(one, "resent_tasks_total") == 1
    assert value(other, "resent_tasks_total") == 0


def test_labels_without_end_do_not_make_series_without_end():
    metrics = Metrics()
    for number in range(MAX_LABEL_VALUES + 50):
        metrics.dead_letter(f"reason {number}")
    assert value(metrics, "dead_letters_total", reason="other") == 50
    assert metrics.render().count(b"sagabus_dead_letters_total{") == MAX_LABEL_VALUES + 1


def test_unknown_events_are_no_error():
    Metrics().on_event("w", {"seq": 1, "type": "SomethingNew", "at": None, "data": {}})
