"""JSON Schemas of the contract, from ``wire``: ``python -m sagabus_agents.schemas [DIRECTORY]``."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sagabus_agents import wire

MESSAGES: tuple[type[BaseModel], ...] = (
    wire.TaskMessage,
    wire.ResultMessage,
    wire.ClaimMessage,
    wire.ClaimAnswer,
    wire.PresenceMessage,
    wire.ProgressMessage,
    wire.CancelMessage,
    wire.SecretRequest,
    wire.SecretAnswer,
    wire.CommandMessage,
    wire.CommandReply,
    wire.LifecycleEvent,
    wire.NoticeMessage,
    wire.DeadLetter,
)


def schema(message: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of one message."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **message.model_json_schema(),
    }


def file_name(message: type[BaseModel]) -> str:
    """``TaskMessage`` -> ``task_message.schema.json``."""
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", message.__name__).lower()
    return f"{snake}.schema.json"


def documents() -> dict[str, str]:
    """Text of every schema file, by name."""
    return {
        file_name(message): json.dumps(schema(message), indent=2) + "\n" for message in MESSAGES
    }


def main() -> None:
    """Write the files into the directory named on the command line, or print them all."""
    if len(sys.argv) > 1:
        directory = Path(sys.argv[1])
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in documents().items():
            (directory / name).write_text(text)
    else:
        everything = {message.__name__: schema(message) for message in MESSAGES}
        sys.stdout.write(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
