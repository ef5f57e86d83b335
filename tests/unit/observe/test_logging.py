"""Log lines: names, fields, and what never stands in one."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from sagabus.observe.event_log import LINES, EventLog
from sagabus.observe.logging import configure
from tests.support.memory_orchestrator import MemoryOrchestrator


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_each_event_of_a_failed_run_has_its_line():
    orchestrator = MemoryOrchestrator()
    await orchestrator.start("deploy_pipeline", {"password": "hunter2"}, id="run-1")
    await orchestrator.succeed("run-1")
    await orchestrator.fail("run-1", "disk full")
    await orchestrator.fail("run-1", "cannot undo")
    out = io.StringIO()
    configure("info", "json", out)
    log = EventLog("info")
    for event in orchestrator.events["run-1"]:
        assert event["type"] in LINES
        log.on_event("run-1", "deploy_pipeline", event)
    found = lines(out)
    names = [line["event"] for line in found]
    assert names[0] == "workflow_started"
    assert "scheduling_next_stages" in names
    assert {line["workflow_id"] for line in found} == {"run-1"}
    completed = found[names.index("task_completed")]
    assert completed["duration_s"] >= 0
    undo = found[names.index("compensation_dispatch_failed")]
    assert (undo["level"], undo["stage"], undo["error"]) == ("warning", "provision", "cannot undo")
    assert found[names.index("task_failed")]["error_type"] == "agent_error"
    assert "task_started" not in names
    assert "hunter2" not in out.getvalue()


def test_what_people_are_asked_and_fill_in_stands_in_no_line():
    out = io.StringIO()
    configure("info", "json", out)
    log = EventLog("info")
    told = {"prompt": "for hunter2?", "schema": {"const": "hunter2"}, "data": {"pin": "hunter2"}}
    for type_ in ("ApprovalRequested", "ApprovalGranted"):
        data = {"stage": "deploy", "by": "ann", "missing": 1, **told}
        event = {"seq": 1, "type": type_, "at": datetime.now(UTC), "data": data}
        log.on_event("run-1", "w", event)
    assert [line["by"] for line in lines(out)] == ["ann", "ann"]
    assert "hunter2" not in out.getvalue()


def test_denial_is_an_error_with_the_deciding_policies():
    out = io.StringIO()
    configure("error", "json", out)
    data = {
        "stage": "deploy",
        "policies": ["no-deploy"],
        "error": {"type": "denied", "message": "no"},
    }
    event = {"seq": 1, "type": "StageDenied", "at": datetime.now(UTC), "data": data}
    EventLog("error").on_event("run-1", "w", event)
    (line,) = lines(out)
    assert line["event"] == "cedar_authorization_denied"
    assert line["level"] == "error"
    assert line["policies"] == ["no-deploy"]


def test_what_the_level_hides_is_not_written():
    out = io.StringIO()
    configure("warning", "json", out)
    event = {"seq": 1, "type": "TaskScheduled", "at": None, "data": {}}
    EventLog("warning").on_event("run-1", "w", event)
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert not out.getvalue()


def test_libraries_write_lines_of_the_same_form():
    out = io.StringIO()
    configure("info", "json", out)
    logging.getLogger("uvicorn.error").error("failed %s", "here")
    logging.getLogger("uvicorn.access").info("GET /")
    (line,) = lines(out)
    assert line["event"] == "failed here"
    assert line["level"] == "error"
    assert line["logger"] == "uvicorn.error"
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_show_no_variables(log_format):
    out = io.StringIO()
    configure("info", log_format, out)
    password = "hunter2"
    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger().exception("crashed")
    assert "ValueError: 7" in out.getvalue()
    assert "hunter2" not in out.getvalue().replace('password = "hunter2"', "")


def test_text_that_is_no_unicode_fails_nobody():
    out = io.StringIO()
    configure("info", "json", out)
    structlog.get_logger().info(
        "odd", text="\ud800", at=datetime(2026, 1, 1, tzinfo=UTC), of={1: 2}
    )
    (line,) = lines(out)
    assert line["text"] == "\ud800"


def test_auto_is_json_where_nobody_looks():
    out = io.StringIO()
    configure("info", "auto", out)
    structlog.get_logger().info("hello")
    assert lines(out)[0]["event"] == "hello"
