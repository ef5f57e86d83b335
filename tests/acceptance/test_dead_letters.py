"""Dead letters from the command line, on a real orchestrator."""

import asyncio
import json
import re
from pathlib import Path

import nats
import pytest

from tests.support.processes import Orchestrator, sagabus, until

WORKFLOWS = """
[[workflows]]
name = "one"
[[workflows.stages]]
name = "make"
agents = ["devops"]
"""
RESULT = {"kind": "result", "task": "make-1-0", "attempt": 1, "status": "succeeded", "agent": "a"}


def send(url: str, instance: str, data: bytes) -> None:
    """Store a message in the inbox, as an agent of role devops."""

    async def publish() -> None:
        client = await nats.connect(url)
        await client.jetstream().publish(f"sagabus.inbox.{instance}.devops", data)
        await client.close()

    asyncio.run(publish())


@pytest.mark.timeout(60)
def test_dead_letters_are_listed_shown_put_back_and_dropped(tmp_path: Path) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        url = orchestrator.url
        # Sent before its instance exists; and one that nobody will ever understand.
        send(orchestrator.nats_url, "i1", json.dumps(RESULT).encode())
        send(orchestrator.nats_url, "i1", b"{\x1b")

        def letters() -> list[dict[str, object]]:
            found = json.loads(sagabus("dead", "list", "--json", url=url).stdout)
            return found["items"] if found["total"] == 2 else []

        # Read together they are buried in either order.
        by_stage = {letter["stage"]: letter for letter in until(letters, "two letters")}
        garbage, result = by_stage[None], by_stage["make"]
        assert result["reason"] == "unknown_instance"
        early, odd = str(result["seq"]), str(garbage["seq"])

        table = sagabus("dead", "list", "--instance", "i1", url=url).stdout
        assert "make-1-0/1" in table
        shown = sagabus("dead", "show", odd, url=url).stdout
        assert "not understood" in shown
        assert "{\N{REPLACEMENT CHARACTER}" in shown
        checked = sagabus("doctor", "--data", orchestrator.data, url=url).stdout
        assert "2 that nobody has dealt with" in checked

        refused = sagabus("dead", "requeue", early, url=url)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"sagabus: dead letter {early}: there is no instance 'i1' (any more)\n"
        )
        orchestrator.start_instance("one", "i1", {})
        put_back = sagabus("dead", "requeue", early, "--reason", "it was early", url=url)
        assert put_back.stdout == f"dead letter {early}: the message was sent again\n"
        assert until(lambda: orchestrator.at_end("i1"), "its end")["status"] == "completed"

        both = sagabus("dead", "drop", odd, early, url=url)
        assert both.returncode == 1
        assert both.stdout == f"dead letter {odd}: dropped\n"
        assert both.stderr == f"sagabus: there is no dead letter {early}\n"
        assert orchestrator.get("/api/v1/dead-letters")["total"] == 0

        trail = sagabus("audit", "show", url=url).stdout
        assert re.search(rf"DeadLetterRequeued +dead letter {early} .* it was early\n", trail)
        assert re.search(rf"DeadLetterDropped +dead letter {odd} ", trail)
