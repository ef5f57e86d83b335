"""Role ``payments``: calls an HTTP API that takes money, and never takes it twice.

``python -m sagabus_agents.examples.payments URL`` names the API. A process may die between a call
and its result; the task is then run again with the same idempotency key, by which the API knows it.
"""

import json
import sys
from typing import Any
from urllib.request import Request, urlopen

from sagabus_agents import Agent, Task

agent = Agent("payments")


@agent.task("charge")
def charge(task: Task) -> Any:
    """Take ``amount``."""
    charged = post("/charges", task.idempotency_key, {"amount": task.input["amount"]})
    task.artifact(charged["id"])
    return charged


@agent.compensation("charge")
def refund(task: Task) -> Any:
    """Give back what was taken, also where no result ever told its id: the key finds it."""
    return post("/refunds", task.idempotency_key, {"charged_with": task.key_to_undo})


def post(path: str, key: str, body: dict[str, Any]) -> Any:
    """Send ``body`` to the API, which does the same again for no two requests with one key."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = Request(sys.argv[1] + path, json.dumps(body).encode(), headers)  # noqa: S310
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - the address is the operator's
        return json.load(answer)


if __name__ == "__main__":
    agent.run()
