"""What nobody can use goes to DEAD with the reason, is counted, and does nothing else.

What can be used and is odd (a huge number, a naive time, an endless message) costs its own task
something, and nobody else anything.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.instance import Instance, InstanceState
from sagabus.ports import Batch, PartitionClaim
from sagabus_agents import wire
from tests.support.crew import Crew, Hand, command, result_data
from tests.support.engine import (
    Own,
    Owner,
    ended,
    history_types,
    owners,
    running,
    shorten_grace,
)
from tests.support.worlds import Taken, World, open_world, until, until_nothing_is_left

CONFIG = """
[[workflows]]
name = "two"
[[workflows.stages]]
name = "make"
agents = ["devops"]
retry = {count = 1, delay = 0.01}
compensation_agents = ["devops"]
compensation = {retry = {count = 0}}
[[workflows.stages]]
name = "check"
agents = ["tester"]
"""
TOO_LARGE = wire.MAX_MESSAGE_BYTES + 1_000
CLAIM = {"kind": "claim", "claim": "c", "agent": "a", "delivery": 1, "reply": "_INBOX.x"}


@dataclass
class Scene:
    """An instance ``i1`` whose first task is claimed and in hand."""

    world: World
    owner: Owner
    own: Own
    hand: Hand
    task: Taken

    async def send(self, data: bytes, instance: str = "i1", source: str = "devops") -> None:
        await self.hand.link.send(instance, source, data)

    async def buried(self, count: int = 1) -> list[wire.DeadLetter]:
        async def look() -> list[wire.DeadLetter]:
            found = await self.world.dead()
            return found if len(found) >= count else []

        return await until(look)

    async def quiet(self) -> None:
        """Nothing but the task in hand is left."""
        await until_nothing_is_left(self.world, but=1)


@pytest.fixture(params=["memory", "real"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    shorten_grace(monkeypatch, 60)
    config = tmp_path / "workflows.toml"
    config.write_text(CONFIG)
    async with open_world(request.param, tmp_path) as world, owners(config, world) as own:
        owner = await own()
        await owner.facade.start("two", id="i1")
        hand = Hand(await world.link())
        task = await hand.take("devops")
        await hand.run(task)
        yield Scene(world, owner, own, hand, task)


@dataclass
class Bad:
    """A message, where it is sent, and what is said of it."""

    name: str
    data: bytes
    reason: str
    instance: str = "i1"
    source: str = "devops"


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


BAD = [
    Bad("no_json", b"\xff{", "not understood: Invalid JSON"),
    Bad("empty", b"", "not understood"),
    Bad("no_object", b"[]", "not understood"),
    Bad(
        "no_kind",
        text({"status": "succeeded"}),
        "not understood: `kind` is missing; one of result, claim and command",
    ),
    Bad(
        "unknown_kind",
        text({"kind": "wish"}),
        "not understood: `kind` is 'wish'; it must be one of result, claim and command",
    ),
    Bad("endless_kind", text({"kind": "x" * 800_000}), "not understood: `kind` is 'xxx"),
    Bad("no_task", text({"kind": "result", "status": "succeeded"}), "not understood: result.task"),
    Bad(
        "bad_status",
        text({"kind": "result", "task": "t", "attempt": 1, "agent": "a", "status": "fine"}),
        "not understood: result.status",
    ),
    Bad("half_a_character", b'{"kind":"result","output":"\\ud800"}', "not understood"),
    Bad("too_large", result_data("make-1-0", output="x" * TOO_LARGE), "too large"),
    Bad("foreign_role", result_data("make-1-0"), "foreign_role", source="tester"),
    Bad("unknown_task", result_data("bake-1-0"), "unknown_task"),
    Bad("unknown_attempt", result_data("make-1-0", 2), "unknown_task"),
    Bad("unknown_instance", result_data("make-1-0"), "unknown_instance", instance="i2"),
    Bad("odd_instance", result_data("make-1-0"), "not an id", instance="i%2"),
    Bad(
        "claim_of_a_foreign_role",
        text({**CLAIM, "task": "make-1-0", "attempt": 1}),
        "claim_of_foreign_role",
        source="tester",
    ),
    Bad(
        "claim_in_an_unknown_instance",
        text({**CLAIM, "task": "make-1-0", "attempt": 1}),
        "unknown_instance",
        instance="i2",
    ),
    Bad(
        "command_of_an_agent",
        text({"kind": "command", "command": "c", "name": "cancel"}),
        "wrong source",
    ),
    Bad("result_of_a_client", result_data("make-1-0"), "wrong source", source="_command"),
]


@pytest.mark.parametrize("scene", ["memory"], indirect=True)
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_message_that_nobody_can_use_is_buried_with_the_reason_and_does_nothing_else(
    scene: Scene, bad: Bad
) -> None:
    await scene.quiet()
    before = await scene.world.store.load_instance("i1")
    await scene.send(bad.data, bad.instance, bad.source)
    [letter] = await scene.buried()
    assert letter.reason.startswith(bad.reason)
    assert len(letter.reason) < 1_000
    assert letter.subject.split(".")[3:] == [bad.instance, bad.source]
    await scene.quiet()
    assert await scene.world.store.load_instance("i1") == before
    assert await scene.world.store.load_instance("i2") is None

    async def is_counted() -> bool:
        label = bad.reason.partition(":")[0]
        return scene.owner.metric("sagabus_dead_letters_total", reason=label) == 1

    await until(is_counted)
    await scene.hand.finish(scene.task)
    await scene.hand.finish(await scene.hand.take("tester"))
    assert (await ended(scene.world.store, "i1")).row.status == "completed"


@pytest.mark.parametrize("scene", ["real"], indirect=True)
async def test_messages_that_nobody_can_use_are_buried_on_a_real_server_too(scene: Scene) -> None:
    await scene.quiet()
    before = await scene.world.store.load_instance("i1")
    for bad in BAD:
        await scene.send(bad.data, bad.instance, bad.source)
    letters = await scene.buried(len(BAD))
    reasons = sorted(letter.reason.partition(":")[0] for letter in letters)
    assert reasons == sorted(bad.reason.partition(":")[0] for bad in BAD)
    assert await scene.world.store.load_instance("i1") == before
    await scene.hand.finish(scene.task)
    await scene.hand.finish(await scene.hand.take("tester"))
    assert (await ended(scene.world.store, "i1")).row.status == "completed"


async def test_command_with_arguments_that_make_no_sense_is_refused_and_changes_nothing(
    scene: Scene,
) -> None:
    await scene.quiet()
    before = await scene.world.store.load_instance("i1")
    link = scene.hand.link
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("approve", {}, "invalid_request"),
        ("approve", {"stage": "x" * 10_000}, "invalid_request"),
        ("cancel", {"reason": 1}, "invalid_request"),
        ("start", {"workflow": 1}, "invalid_request"),
        ("start", {"workflow": "other"}, "workflow_not_found"),
    ]
    for name, arguments, code in refused:
        instance = "i3" if name == "start" else "i1"
        answer = await command(link, instance, f"{name}-{len(str(arguments))}", name, **arguments)
        assert (answer.ok, answer.code) == (False, code)
    answer = await command(link, "i2", "c1", "cancel")
    assert (answer.ok, answer.code) == (False, "instance_not_found")
    await scene.quiet()
    assert await scene.world.store.load_instance("i1") == before
    assert await scene.world.store.load_instance("i3") is None


def failed(error: dict[str, Any], **fields: Any) -> bytes:
    return text(
        {
            "kind": "result",
            "task": "make-1-0",
            "attempt": 1,
            "agent": "hand",
            "status": "failed",
            "error": error,
            **fields,
        }
    )


async def finish_by_crew(scene: Scene) -> InstanceState:
    crew = Crew(scene.hand.link, ["devops", "tester"])
    async with running(crew.work):
        return await ended(scene.world.store, "i1")


@pytest.mark.parametrize(
    "data",
    [
        failed({"type": "Broken", "message": "x" * (wire.MAX_MESSAGE_BYTES - 200)}),
        failed({"type": "Broken", "message": "\x00" * 150_000}),
        failed({"type": "Broken", "retry_after_s": 0}, started_at="2026-01-01T00:00:00"),
    ],
    ids=["endless_message", "endless_message_that_grows_as_json", "naive_time"],
)
async def test_odd_failure_is_a_failure_and_nothing_more(scene: Scene, data: bytes) -> None:
    await scene.send(data)
    await scene.task.ack()
    state = await finish_by_crew(scene)
    assert state.row.status == "completed"
    error = state.attempts["make-1-0"][0].error
    assert error is not None
    assert (error.type, len(error.message) < 70_000) == ("Broken", True)


async def test_time_that_says_no_zone_is_in_utc(scene: Scene) -> None:
    await scene.hand.finish(scene.task)
    check = await scene.hand.take("tester")
    running_now = {
        "instance": "i1",
        "task": "check-1-0",
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00",
    }
    presence = {"agent": "a", "roles": [], "slots": 1, "free": 0, "running": [running_now]}
    await scene.hand.link.notify(wire.presence_subject("a"), text(presence))
    data = result_data("check-1-0", started_at="2026-01-01T00:00:00")
    await scene.hand.send(check, data.replace(b'00:00Z"', b'00:00"'))
    await check.ack()
    assert (await ended(scene.world.store, "i1")).row.status == "completed"


async def test_endless_wait_before_the_next_attempt_is_a_long_one(scene: Scene) -> None:
    for seconds in ("1e300", "Infinity"):
        error = failed({"type": "Broken", "retry_after_s": 0}).replace(
            b'"retry_after_s": 0', b'"retry_after_s": ' + seconds.encode()
        )
        await scene.send(error)
    await scene.task.ack()
    await until_nothing_is_left(scene.world)
    state = await scene.world.store.load_instance("i1")
    assert state is not None
    assert state.row.status == "running"
    assert state.attempts["make-1-0"][0].retry


async def test_number_that_no_message_can_carry_on_is_a_bad_result_and_is_undone(
    scene: Scene,
) -> None:
    await scene.send(result_data("make-1-0", output=10**30))
    await scene.task.ack()
    state = await finish_by_crew(scene)
    assert (state.row.status, state.row.rollback) == ("rolled_back", "full")
    assert state.row.error is not None
    assert state.row.error.type == "bad_result"


async def test_claim_with_a_reply_that_is_no_subject_gets_no_answer_and_harms_nobody(
    scene: Scene,
) -> None:
    for reply in ("a b 3\r\nxyz\r\nPUB c 1\r\nd", " ", "a..b", ".", "a.*", ">", "\r\n"):
        claim = {**CLAIM, "reply": reply, "task": "make-1-0", "attempt": 1}
        await scene.send(text(claim))
    answer = await command(scene.hand.link, "i1", "c1", "approve", stage="make")
    assert answer.code == "conflict"
    await scene.hand.finish(scene.task)
    await scene.hand.finish(await scene.hand.take("tester"))
    assert (await ended(scene.world.store, "i1")).row.status == "completed"


async def test_message_that_the_engine_itself_fails_on_parks_its_instance_alone(
    scene: Scene,
) -> None:
    await scene.owner.facade.start("two", id="i9")
    other = await scene.hand.take("devops")
    await scene.hand.run(other)
    state = await scene.world.store.load_instance("i1")
    assert state is not None
    # A row that its own rules exclude, as a bug would leave it behind.
    await scene.owner.kill()
    state.row.in_flight = 0
    state.row.version += 1
    claim = await scene.world.store.take_partition(0)
    await store_row(scene, claim, state.row)
    await scene.own()
    await scene.hand.finish(scene.task)
    await scene.hand.finish(other)

    async def is_parked() -> bool:
        found = await scene.world.store.load_instance("i1")
        return found is not None and found.row.status == "needs_operator"

    await until(is_parked)
    check = await scene.hand.take("tester")
    assert check.message.workflow_id == "i9"
    await scene.hand.finish(check)
    assert (await ended(scene.world.store, "i9")).row.status == "completed"
    assert "WorkflowParked" in await history_types(scene.world.store, "i1")


async def store_row(scene: Scene, claim: PartitionClaim, row: Instance) -> None:
    await scene.world.store.commit(
        Batch(0, claim.epoch, claim.batch + 1, claim.batch + 1, instances=[row])
    )
