"""Whole workflows, played from their start to the last command that a person gives."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from sagabus.core.instance import InstanceState
from tests.support.crew import Crew, Fail, Hang, Outcome, command
from tests.support.engine import Dynasty, running
from tests.support.worlds import Link, World, until

CONFIG = """
[engine.defaults]
retry = {count = 0, delay = 0.01}
compensation = {retry = {count = 2, delay = 0.01}}

[[workflows]]
name = "pipeline"
[[workflows.stages]]
name = "provision"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "migrate"
agents = ["backend", "backend"]
parallel = true
compensation_agents = ["backend"]
[[workflows.stages]]
name = "smoke"
agents = ["tester"]

[[workflows]]
name = "gated"
[[workflows.stages]]
name = "build"
agents = ["backend"]
classification = "read_only"
[[workflows.stages]]
name = "deploy"
agents = ["devops"]
compensation_agents = ["devops"]
approval_required = true

[[workflows]]
name = "stubborn"
[[workflows.stages]]
name = "migrate"
agents = ["backend"]
retry = {count = 2, delay = 0.01}
compensation_agents = ["backend"]
[[workflows.stages]]
name = "smoke"
agents = ["tester"]
retry = {count = 1, delay = 0.01}

[[workflows]]
name = "slow"
[[workflows.stages]]
name = "migrate"
agents = ["backend"]
timeout = 0.05
retry = {count = 1, delay = 0.01}
compensation_agents = ["devops"]
"""
ROLES = ("devops", "backend", "tester")
Play = Callable[["Stage"], Awaitable[None]]


@dataclass
class Stage:
    """What a scenario plays on."""

    instance: str
    world: World
    dynasty: Dynasty
    link: Link
    script: dict[str, Outcome]
    crews: list[Crew] = field(default_factory=list)

    async def start(self, workflow: str) -> None:
        started = await self.dynasty.ask(
            lambda o: o.start(workflow, {"n": 1}, id=self.instance, by="ann", command="start")
        )
        # The first answer died with its owner: a repeat gets the same.
        assert (started.id, started.is_new) == (self.instance, True)

    async def crew(self, jobs: AsyncExitStack, *roles: str) -> None:
        crew = Crew(await self.world.link(), roles or ROLES, self.script)
        self.crews.append(crew)
        await jobs.enter_async_context(running(crew.work))

    async def until_started(self, effect: str) -> None:
        async def is_started() -> bool:
            return any(f"{self.instance} {effect}" in crew.effects for crew in self.crews)

        await until(is_started)

    async def until_stored(self, is_so: Callable[[InstanceState], bool]) -> None:
        async def look() -> bool:
            state = await self.world.store.load_instance(self.instance)
            return state is not None and is_so(state)

        await until(look)


async def success(stage: Stage, jobs: AsyncExitStack) -> None:
    await stage.crew(jobs)
    await stage.start("pipeline")


async def failure(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["smoke-1-0#1"] = Fail()
    stage.script["migrate-1-0-undo-0#1"] = Fail()
    await stage.crew(jobs)
    await stage.start("pipeline")


async def failed_undo(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["smoke-1-0#1"] = Fail()
    stage.script["migrate-1-1-undo-0#1"] = Fail(is_retryable=False)
    await stage.crew(jobs)
    await stage.start("pipeline")


async def approval(stage: Stage, jobs: AsyncExitStack) -> None:
    await stage.crew(jobs)
    await stage.start("gated")
    await stage.until_stored(lambda state: state.row.status == "waiting")
    answer = await command(stage.link, stage.instance, "approve-1", "approve", stage="deploy")
    assert (answer.ok, answer.result["decision"]) == (True, "approved")


async def rejection(stage: Stage, jobs: AsyncExitStack) -> None:
    await stage.crew(jobs)
    await stage.start("gated")
    await stage.until_stored(lambda state: state.row.status == "waiting")
    answer = await command(stage.link, stage.instance, "reject-1", "reject", stage="deploy")
    assert (answer.ok, answer.result["decision"]) == (True, "rejected")


async def retry(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["migrate-1-0#1"] = Fail()
    stage.script["migrate-1-0#2"] = Fail()
    stage.script["smoke-1-0#1"] = Fail()
    await stage.crew(jobs)
    await stage.start("stubborn")


async def timeout(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["migrate-1-0#1"] = Hang(is_deaf=True)
    await stage.crew(jobs)
    await stage.start("slow")


async def cancelled_while_queued(stage: Stage, jobs: AsyncExitStack) -> None:
    await stage.crew(jobs, "devops", "backend")
    await stage.start("pipeline")
    await stage.until_stored(lambda state: "smoke-1-0" in state.attempts)
    answer = await command(stage.link, stage.instance, "cancel-1", "cancel")
    assert answer.ok
    await stage.until_stored(lambda state: state.row.status == "cancelled")
    await stage.crew(jobs, "tester")


async def cancelled_while_running(stage: Stage, jobs: AsyncExitStack) -> None:
    stage.script["migrate-1-1#1"] = Hang()
    await stage.crew(jobs)
    await stage.start("pipeline")
    await stage.until_started("migrate-1-1#1")
    answer = await command(stage.link, stage.instance, "cancel-1", "cancel")
    assert answer.ok


SCENARIOS = (
    success,
    failure,
    failed_undo,
    approval,
    rejection,
    retry,
    timeout,
    cancelled_while_queued,
    cancelled_while_running,
)
