"""Programs as agents: what they are given, and what becomes of how they end."""

import asyncio
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from sagabus_agents.agent import new_event_loop
from sagabus_agents.roles.exec import exec_agent
from sagabus_agents.testing import run_task
from sagabus_agents.wire import MAX_PAYLOAD_BYTES, ResultMessage, ResultStatus
from tests.support.eventually import eventually


async def run_program(tmp_path: Path, program: str, input: Any = None, **options: Any) -> Any:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    agent = exec_agent("devops", {"act": f"{sys.executable} {path}"}, grace_s=0.2)
    return await run_task(agent, "act", input, **options)


def error_of(result: ResultMessage) -> tuple[str, bool, str]:
    assert result.status is ResultStatus.FAILED
    assert result.error is not None
    return result.error.type, result.error.retryable, result.error.message


async def test_program_reads_the_task_and_writes_its_output(tmp_path: Path) -> None:
    program = """
        import json, os, sys
        task = json.load(sys.stdin)
        with open(os.environ["SAGABUS_ARTIFACTS"], "a") as artifacts:
            print("vm-1", "vm-2", sep="\\n", file=artifacts)
        json.dump({"task": task, "id": os.environ["SAGABUS_WORKFLOW_ID"],
                   "attempt": os.environ["SAGABUS_ATTEMPT"]}, sys.stdout)
    """
    result = await run_program(tmp_path, program, {"n": 1}, workflow_id="wf-7", attempt=3)
    assert result.output == {
        "task": {"type": "task", "stage_name": "act", "workflow_id": "wf-7", "input": {"n": 1}},
        "id": "wf-7",
        "attempt": "3",
    }
    assert result.artifacts == ["vm-1", "vm-2"]


async def test_compensation_runs_the_undo_program_with_its_payload() -> None:
    agent = exec_agent("devops", {}, {"*": "cat"})
    result = await run_task(agent, "act", compensation=True, artifacts_to_undo=["vm-1"])
    assert result.output == {
        "type": "compensation",
        "stage_name": "act",
        "workflow_id": "test",
        "original_context": {},
        "artifacts_to_undo": ["vm-1"],
        "input": None,
    }


async def test_silence_is_null() -> None:
    agent = exec_agent("devops", {"act": "true"})
    result = await run_task(agent, "act", "x" * 500_000)  # which it does not read
    assert (result.status, result.output) == (ResultStatus.SUCCEEDED, None)


def test_program_that_ends_before_it_was_fed_is_no_failure_of_ours() -> None:
    async def run_many() -> set[str]:
        agent = exec_agent("devops", {"act": "false"})
        runs = (run_task(agent, "act", "x" * 100_000) for _ in range(30))
        return {error_of(result)[0] for result in await asyncio.gather(*runs)}

    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # the loop that agents run on
        assert runner.run(run_many()) == {"exit_1"}


@pytest.mark.parametrize(
    ("code", "type", "retryable"),
    [
        (1, "exit_1", True),
        (64, "exit_64", False),
        (65, "bad_input", False),
        (69, "exit_69", True),
        (75, "exit_75", True),
        (78, "exit_78", False),
        (127, "exit_127", False),
    ],
)
async def test_exit_code_says_what_went_wrong(code: int, type: str, retryable: bool) -> None:
    agent = exec_agent("devops", {"act": f"sh -c 'echo oh dear >&2; exit {code}'"})
    assert error_of(await run_task(agent, "act")) == (type, retryable, "oh dear")


async def test_killed_program_may_be_tried_again() -> None:
    agent = exec_agent("devops", {"act": "sh -c 'kill -KILL $$'"})
    assert error_of(await run_task(agent, "act"))[:2] == ("signal_sigkill", True)


async def test_program_that_is_not_there_fails_for_good() -> None:
    agent = exec_agent("devops", {"act": "no-such-program-anywhere"})
    assert error_of(await run_task(agent, "act"))[:2] == ("exec_not_started", False)


@pytest.mark.parametrize("program", ["print('not json')", f"print('1' * {MAX_PAYLOAD_BYTES + 9})"])
async def test_stdout_that_is_no_result_is_bad_result(tmp_path: Path, program: str) -> None:
    assert error_of(await run_program(tmp_path, program))[:2] == ("bad_result", False)


async def test_timeout_kills_the_program_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"""
        import os, signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "300"], start_new_session=False)
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        open(os.environ["SAGABUS_ARTIFACTS"], "w").write("half-made")
        time.sleep(300)
    """
    result = await run_program(tmp_path, program, timeout_s=1.0)
    assert error_of(result)[:2] == ("timeout", True)
    assert result.artifacts == ["half-made"]

    async def is_gone() -> bool:
        return not any(is_running(int(pid)) for pid in pids.read_text().split())

    await eventually(is_gone)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for yet has ended.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("command", ["", "  ", "sh -c 'unclosed"])
def test_command_that_cannot_be_split_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"empty|quotation"):
        exec_agent("devops", {"act": command})


async def test_environment_of_the_agent_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SETTING", "on")
    program = "import json, os; print(json.dumps(os.environ['SOME_SETTING']))"
    result = await run_program(tmp_path, program)
    assert json.dumps(result.output) == '"on"'
