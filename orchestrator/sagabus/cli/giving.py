"""Giving a command for one instance, and saying in a line what came of it and what comes next."""

from typing import Any

from sagabus.cli.client import Api, instance_path
from sagabus.cli.options import who
from sagabus.cli.output import say, say_json
from sagabus.core.instance import TERMINAL


def command(api: Api, instance: str, name: str, document: dict[str, Any]) -> Any:
    """Give a command; the reply."""
    return api.post(instance_path(instance, name), {**document, "by": who()})


def report(reply: Any, words: str, *, is_json: bool) -> None:
    """Say what came of a command."""
    if is_json:
        say_json(reply)
    else:
        say(words)


def repair(
    api: Api, instance: str, name: str, stage: str, words: str, *, is_json: bool, **more: Any
) -> None:
    """Give a command that puts a stage right, and say that it did: ``words`` of the stage."""
    reply = command(api, instance, name, {"stage": stage, **more})
    result = reply["result"]
    if not result.get("is_sent", True):
        words += " when the instance is resumed"
    if "attempts" in result:
        words += f" ({', '.join(result['attempts'])})"
        words += f", {result['left']} more are unknown: once more" if result["left"] else ""
    after = what_next(instance, result["status"])
    report(reply, f"{instance}: stage {stage} {words}; {after}", is_json=is_json)


def what_next(instance: str, status: str) -> str:
    """How an instance stands after a command, and how it is followed."""
    if status in TERMINAL:
        return f"it is {status}: sagabus show {instance}"
    if status == "needs_operator":
        return f"it needs an operator: sagabus show {instance}"
    return f"it is {status}: sagabus watch {instance}"
