"""The first seed's documents, as printed, with real agents: every end that they can come to.

Both stand in one file, for one orchestrator; a listener on the bus sees every message in its order.
"""

import asyncio
import json
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nats
import pytest

from sagabus.adapters.package_data import data_path
from tests.support.processes import ROOT, Orchestrator, Program, all_of, sagabus, until

VAPORA = ROOT / "tests/cases/vapora"
PRINTED_POLICIES = "/etc/vapora/cedar"
ROLES = ("devops", "backend", "tester", "agent_role", "other_role")
#: Workflows that differ from the one of ``full_reference.toml`` in what is named here.
GATE = {"approval_required = false": "approval_required = true"}
TWO = {'agents = ["agent_role"]\n': 'agents = ["agent_role", "other_role"]\n'}
PARALLEL = {"parallel = false": "parallel = true"}
VARIANTS: dict[str, dict[str, str]] = {
    "gated": GATE,
    "ungated": {},
    "in_turn": TWO,
    "together": TWO | PARALLEL | {"max_parallel = 1": "max_parallel = 2"},
    "one_at_a_time": TWO | PARALLEL,
    "forbidden": {},
}
POLICIES = """
@id("only-approved")
forbid (principal == Orchestrator::"sagabus", action == Action::"execute-stage", resource)
when { context.workflow == "gated" || context.workflow == "ungated" }
unless { context.approved == true };

@id("never")
forbid (principal, action == Action::"execute-stage", resource == Stage::"stage_a")
when { context.workflow == "forbidden" };
"""
#: Fields of a compensation's message: its payload, and the envelope around it.
PAYLOAD = {"type", "stage_name", "workflow_id", "original_context", "artifacts_to_undo"}
ENVELOPE = {
    *("workflow", "task", "attempt", "role", "action", "input", "payload", "secrets"),
    *("claim", "resent", "idempotency_key", "timeout_s", "trace"),
}
#: Instances of ``deploy_pipeline``: the stage that fails, if one does.
DEPLOYMENTS = {
    "good": "",
    "no_smoke": "smoke_test",
    "no_migration": "migrate_db",
    "nothing": "provision",
}


class Listener:
    """``with Listener(url) as heard``: every message on the bus, in the server's order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._heard: list[tuple[str, bytes]] = []
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _listen(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = await nats.connect(self._url)
        await client.subscribe(">", cb=self._on_message)
        await client.flush()
        self._is_listening.set()
        await self._stop.wait()
        await client.close()

    async def _on_message(self, message: Any) -> None:
        # Ours, and answers to claims; not what the server delivers once more, to an agent.
        is_ours = message.subject.startswith(("sagabus.", "_INBOX."))
        if is_ours and not message.reply.startswith("$JS.ACK."):
            self._heard.append((message.subject, message.data))

    def tasks(self, id: str, kind: str) -> list[dict[str, Any]]:
        """Messages of tasks, or of compensations, as they were sent."""
        found = [
            json.loads(data)
            for subject, data in list(self._heard)
            if subject.startswith("sagabus.task.") and subject.split(".")[3] == id
        ]
        return [message for message in found if message["type"] == kind]

    def order(self, id: str) -> list[str]:
        """What was announced, sent (``send <task>``) and allowed to run (``run <task>``)."""
        words: list[str] = []
        claims: dict[str, str] = {}
        for subject, data in list(self._heard):
            place, what, *rest = subject.split(".")
            if place == "_INBOX":
                answer = json.loads(data) if data.startswith(b"{") else {}
                if answer.get("claim") in claims:
                    words.append(f"{answer['answer']} {claims[answer['claim']]}")
            elif what == "event" and rest[0] == id:
                words.append(rest[1])
            elif what == "task" and rest[1] == id:
                words.append(f"send {rest[2]}")
            elif what == "inbox" and rest[0] == id:
                message = json.loads(data)
                if message["kind"] == "claim":
                    claims[message["claim"]] = message["task"]
        return words


@dataclass
class Site:
    """Everything at work."""

    orchestrator: Orchestrator
    heard: Listener

    def ended(self, id: str) -> dict[str, Any]:
        return until(lambda: self.orchestrator.at_end(id), f"{id} ends")

    def types(self, id: str) -> list[str]:
        return [event["type"] for event in self.orchestrator.history(id)]

    def sent(self, id: str, kind: str = "task") -> list[tuple[str, str]]:
        """Stage and role of every message, in order."""
        return [(one["stage_name"], one["role"]) for one in self.heard.tasks(id, kind)]

    def until_waiting(self, id: str) -> None:
        def is_waiting() -> bool:
            return bool(self.orchestrator.instance(id)["status"] == "waiting")

        until(is_waiting, f"{id} waits")

    def run(self, *arguments: str) -> str:
        done = sagabus(*arguments, url=self.orchestrator.url, SAGABUS_USER="ann")
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout


def documents(policies: Path) -> str:
    """Both documents and the variants in one; they have one engine, but for the policies."""
    reference = (VAPORA / "full_reference.toml").read_text()
    pipeline = (VAPORA / "workflows.toml").read_text()
    engine = tomllib.loads(reference)["engine"]
    assert engine.pop("cedar_policy_dir") == PRINTED_POLICIES
    assert engine == tomllib.loads(pipeline)["engine"]
    texts = [reference.replace(PRINTED_POLICIES, str(policies)), below_engine(pipeline)]
    for name, changes in VARIANTS.items():
        text = below_engine(reference)
        for old, new in {'"my_workflow"': f'"{name}"', **changes}.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        texts.append(text)
    return "\n".join(texts)


def below_engine(text: str) -> str:
    """The workflows of a document."""
    return text[text.index("[[workflows]]") :]


def agents(directory: Path, nats_url: str) -> list[Program]:
    return [
        Program(
            role,
            [
                *(sys.executable, "-m", "tests.support.effect_agent", role),
                *("--log", directory / "effects.jsonl"),
            ],
            directory,
            env={"SAGABUS_NATS_URL": nats_url},
        )
        for role in ROLES
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("vapora")
    policies = directory / "cedar"
    policies.mkdir()
    allow_all = (data_path("config") / "cedar/allow-all.cedar").read_text()
    (policies / "allow-all.cedar").write_text(allow_all)
    (policies / "forbids.cedar").write_text(POLICIES)
    with (
        Orchestrator(directory, documents(policies)) as orchestrator,
        Listener(orchestrator.nats_url) as heard,
        all_of(agents(directory, orchestrator.nats_url)),
    ):
        for id, fail in DEPLOYMENTS.items():
            orchestrator.start_instance("deploy_pipeline", id, {"fail": fail})
        for workflow in ("my_workflow", *VARIANTS):
            orchestrator.start_instance(workflow, workflow, {})
        orchestrator.start_instance("gated", "refused", {})
        orchestrator.start_instance("my_workflow", "reference_fails", {"fail": "stage_a"})
        yield Site(orchestrator, heard)


def assert_is_payload(message: dict[str, Any], fail: str) -> None:
    """Exactly the printed fields, and in them what the stage was given and what it gave."""
    stage, context = message["stage_name"], message["original_context"]
    assert PAYLOAD <= set(message) <= PAYLOAD | ENVELOPE
    assert message["type"] == "compensation"
    assert set(context) == {"parameters", "vars", "input", "output"}
    assert (context["parameters"], context["vars"]) == ({"fail": fail}, {})
    before = {} if stage == "provision" else {"provision": {"by": "provision-1-0"}}
    assert context["input"] == {"fail": fail, "previous": before}
    assert context["output"] == {"by": f"{stage}-1-0"}
    assert message["artifacts_to_undo"] == [f"made-{stage}-1-0"]


def test_deployment_runs_through_its_stages_in_order(site: Site) -> None:
    ended = site.ended("good")
    assert (ended["status"], ended["rollback"]) == ("completed", "none")
    assert site.sent("good") == [
        ("provision", "devops"),
        ("migrate_db", "backend"),
        ("smoke_test", "tester"),
    ]
    assert site.sent("good", "compensation") == []
    assert site.types("good")[-1] == "WorkflowCompleted"


def test_failed_smoke_test_is_announced_and_then_undone_in_reverse(site: Site) -> None:
    ended = site.ended("no_smoke")
    assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
    assert ended["error"]["reason"] == "step_failed:smoke_test"
    undone = [("migrate_db", "backend"), ("provision", "devops")]
    assert site.sent("no_smoke", "compensation") == undone
    for message in site.heard.tasks("no_smoke", "compensation"):
        assert_is_payload(message, "smoke_test")
        assert message["workflow_id"] == "no_smoke"
    stored = site.types("no_smoke")
    assert stored.index("WorkflowFailed") < stored.index("CompensationScheduled")
    until(lambda: "WorkflowRolledBack" in site.heard.order("no_smoke"), "its end is announced")
    order = site.heard.order("no_smoke")
    told = ("TaskFailed", "WorkflowFailed", "CompensationCompleted", "WorkflowRolledBack")
    assert [word for word in order if word in told or word.startswith("run ")] == [
        *("run provision-1-0", "run migrate_db-1-0"),
        *("TaskFailed", "WorkflowFailed"),
        *("run migrate_db-1-0-undo-0", "CompensationCompleted"),
        *("run provision-1-0-undo-0", "CompensationCompleted"),
        "WorkflowRolledBack",
    ]
    # An undo is asked for when the one before has succeeded.
    assert order.index("CompensationCompleted") > order.index("send migrate_db-1-0-undo-0")
    assert order.index("send provision-1-0-undo-0") > order.index("run migrate_db-1-0-undo-0")


def test_failed_migration_undoes_what_was_provided_and_nothing_else(site: Site) -> None:
    ended = site.ended("no_migration")
    assert (ended["status"], ended["rollback"]) == ("rolled_back", "full")
    assert site.sent("no_migration") == [("provision", "devops"), ("migrate_db", "backend")]
    assert site.sent("no_migration", "compensation") == [("provision", "devops")]
    [message] = site.heard.tasks("no_migration", "compensation")
    assert_is_payload(message, "migrate_db")


def test_failure_of_the_first_stage_leaves_nothing_to_undo(site: Site) -> None:
    for id, stage in (("nothing", "provision"), ("reference_fails", "stage_a")):
        ended = site.ended(id)
        assert (ended["status"], ended["rollback"]) == ("failed", "none")
        assert ended["error"]["reason"] == f"step_failed:{stage}"
        assert [name for name, _ in site.sent(id)] == [stage]
        assert site.sent(id, "compensation") == []
        assert "WorkflowFailed" in site.types(id)


def test_reference_runs_where_a_policy_permits_it(site: Site) -> None:
    assert site.ended("my_workflow")["status"] == "completed"
    assert site.sent("my_workflow") == [("stage_a", "agent_role")]
    [task] = site.orchestrator.get("/api/v1/workflow-executions/my_workflow/tasks")["items"]
    assert task["attempts"][0]["policies"] == ["allow-all"]


@pytest.mark.parametrize(("id", "policy"), [("ungated", "only-approved"), ("forbidden", "never")])
def test_stage_that_a_policy_forbids_is_never_sent(site: Site, id: str, policy: str) -> None:
    ended = site.ended(id)
    assert (ended["status"], ended["rollback"]) == ("failed", "none")
    assert (ended["error"]["type"], ended["error"]["policies"]) == ("denied", [policy])
    assert site.sent(id) == []
    assert policy in ended["error_message"]


def test_gate_lets_through_what_is_approved_and_the_policy_sees_it(site: Site) -> None:
    site.until_waiting("gated")
    assert site.sent("gated") == []
    site.run("approve", "gated", "stage_a", "--reason", "looks good")
    ended = site.ended("gated")
    assert ended["status"] == "completed"
    assert site.sent("gated") == [("stage_a", "agent_role")]
    approval = ended["stages"][0]["approval"]
    assert (approval["decision"], approval["by"]) == ("approved", "ann")


def test_rejected_gate_fails_the_workflow_with_nothing_sent(site: Site) -> None:
    site.until_waiting("refused")
    site.run("reject", "refused", "stage_a", "--reason", "too late")
    ended = site.ended("refused")
    assert (ended["status"], ended["error"]["type"]) == ("failed", "rejected")
    assert "too late" in ended["error_message"]
    assert site.sent("refused") == []


@pytest.mark.parametrize(
    ("id", "sent_before_an_end"), [("in_turn", 1), ("one_at_a_time", 1), ("together", 2)]
)
def test_agents_of_a_stage_work_in_turn_or_so_many_at_once(
    site: Site, id: str, sent_before_an_end: int
) -> None:
    assert site.ended(id)["status"] == "completed"
    sent = site.sent(id)
    # Those that leave together have no order.
    in_order = sent if sent_before_an_end == 1 else sorted(sent)
    assert in_order == [("stage_a", "agent_role"), ("stage_a", "other_role")]
    types = site.types(id)
    before = types[: types.index("TaskCompleted")]
    assert before.count("TaskScheduled") == sent_before_an_end, types
