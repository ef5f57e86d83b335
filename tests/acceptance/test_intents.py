"""An agent is killed while it does what cannot be undone: not done again, a person decides."""

import json
import sys
from pathlib import Path

from tests.support.effects import read_effects
from tests.support.processes import Orchestrator, Program, all_of, until
from tests.support.terminal import Terminal

WORKFLOWS = """
[[workflows]]
name = "order"
[[workflows.stages]]
name = "reserve"
agents = ["stock"]
compensation_agents = ["stock"]
[[workflows.stages]]
name = "charge"
agents = ["bank"]
classification = "final"
retry = {count = 5}
[[workflows.stages]]
name = "letter"
agents = ["post"]
classification = "final"
input = {paid = "{{ task.charge.result.receipt }}"}
"""


def agent(role: str, orchestrator: Orchestrator) -> Program:
    directory = orchestrator.directory
    return Program(
        role,
        [
            *(sys.executable, "-m", "tests.support.effect_agent", role),
            *("--log", directory / "effects.jsonl"),
        ],
        directory,
        env={"SAGABUS_NATS_URL": orchestrator.nats_url},
    )


def begun(orchestrator: Orchestrator) -> list[str]:
    lines = read_effects(orchestrator.directory)
    return [line["stage"] for line in lines if line["phase"] == "start"]


def test_final_task_of_a_killed_agent_is_held_never_sent_again_and_resolved_by_a_person(
    tmp_path: Path,
) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        terminal = Terminal(orchestrator)
        bank = agent("bank", orchestrator)
        with all_of([bank, agent("stock", orchestrator), agent("post", orchestrator)]):
            orchestrator.start_instance("order", "o1", {"slow": "charge", "slow_s": 600})
            until(lambda: "charge" in begun(orchestrator), "the bank charges")
            assert "under way" in terminal.run("intents")
            assert "o1" not in terminal.run("intents", "--held")
            bank.kill()
            bank.start()
            until(lambda: orchestrator.instance("o1")["status"] == "needs_operator", "it is held")
            [parked] = orchestrator.instance("o1")["parked"]
            assert (parked["cause"], parked["task"]) == ("intent_unknown", "charge-1-0")
            orchestrator.restart()
            [held] = json.loads(terminal.run("intents", "--held", "--json"))["items"]
            assert (held["instance"], held["stage"], held["is_held"]) == ("o1", "charge", True)
            assert held["idempotency_key"] == "o1:charge-1-0"
            shown = terminal.run("show", "o1")
            unknown = "whether final stage 'charge' had its effect is not known (charge-1-0): "
            assert shown.count("is not known") == 1
            assert unknown in shown
            assert "sagabus resolve o1 charge" in shown
            assert "stages: 1 compensatable, 2 final" in shown
            assert begun(orchestrator) == ["reserve", "charge"]
            receipt = json.dumps({"receipt": "r-17"})
            why = ("--reason", "the bank says so")
            terminal.run("resolve", "o1", "charge", "--succeeded", "--output", receipt, *why)
            until(lambda: orchestrator.at_end("o1"), "it ends")
            found = orchestrator.instance("o1")
            assert (found["status"], found["parked"]) == ("completed", [])
            assert found["effects_left"] == []
            assert terminal.run("intents", "--json")
    assert begun(orchestrator) == ["reserve", "charge", "letter"]
