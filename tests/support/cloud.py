"""A cloud that agents make things in, and that changes behind their back."""

from copy import deepcopy
from typing import Any

from sagabus_agents import Agent, Task


class Cloud:
    """What there is, by kind and id; its agents make, delete and list it."""

    def __init__(self, nats_url: str) -> None:
        self.things: dict[str, dict[str, Any]] = {"vm": {}, "dns": {}}
        self.nats_url = nats_url

    def agent(self, *roles: str, observes: tuple[str, ...] = ()) -> Agent:
        agent = Agent(*roles, nats_url=self.nats_url, drain_s=1)

        @agent.task("make")
        async def make(task: Task) -> None:
            self.add(task, "vm", task.input["vm"], task.input.get("spec", {"size": "s"}))

        @agent.compensation("make")
        async def delete(task: Task) -> None:
            self.things["vm"].pop(task.original_context["input"]["vm"], None)

        @agent.task("entry")
        async def entry(task: Task) -> None:
            self.add(task, "dns", task.input["name"], {"to": "10.0.0.1"})

        @agent.task("remove")
        async def remove(task: Task) -> None:
            self.things["vm"].pop(task.input["vm"], None)
            task.remove_resource("vm", task.input["vm"])

        @agent.task("check")
        async def check(task: Task) -> None:
            if task.input["fails"]:
                raise RuntimeError("it does not work")

        for kind in observes:
            agent.observe(kind)(self.look)
        return agent

    def add(self, task: Task, kind: str, id: str, spec: dict[str, Any]) -> None:
        self.things[kind][id] = deepcopy(spec)
        task.add_resource(kind, id, spec)

    async def look(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"id": id, "spec": spec} for id, spec in self.things[asked["kind"]].items()]
