"""Giving a command for one instance, and saying in a line what came of it and what comes next."""

from typing import Any, Final

from sagabus.cli.client import Api, instance_path
from sagabus.cli.options import who
from sagabus.cli.output import say, say_json

_TERMINAL: Final = frozenset({"completed", "failed", "rolled_back", "cancelled"})


def command(api: Api, instance: str, name: str, document: dict[str, Any]) -> Any:
    """Give a command; the reply."""
    return api.post(instance_path(instance, name), {**document, "by": who()})


def report(reply: Any, words: str, *, is_json: bool) -> None:
    """Say what came of a command."""
    if is_json:
        say_json(reply)
    else:
        say(words)


def what_next(instance: str, status: str) -> str:
    """How an instance stands after a command, and how it is followed."""
    if status in _TERMINAL:
        return f"it is {status}: sagabus show {instance}"
    if status == "needs_operator":
        return f"it needs an operator: sagabus show {instance}"
    return f"it is {status}: sagabus watch {instance}"
