"""The schemas beside the protocol's description are those of the code."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sagabus_agents import schemas
from sagabus_agents.wire import TaskMessage

DIRECTORY = Path(__file__).parents[3] / "docs" / "schemas"


def test_schema_files_are_up_to_date() -> None:
    found = {path.name: path.read_text() for path in DIRECTORY.iterdir()}
    assert found == schemas.documents(), "run: python -m sagabus_agents.schemas docs/schemas"


@pytest.mark.parametrize("message", schemas.MESSAGES, ids=lambda message: message.__name__)
def test_schema_is_one_and_is_named_in_the_protocol(message: type) -> None:
    Draft202012Validator.check_schema(schemas.schema(message))
    protocol = (DIRECTORY.parent / "agent-protocol.md").read_text()
    assert f"schemas/{schemas.file_name(message)}" in protocol


def test_generator_writes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "schemas"
    monkeypatch.setattr("sys.argv", ["schemas", str(target)])
    schemas.main()
    assert (target / schemas.file_name(TaskMessage)).is_file()
    assert len(list(target.iterdir())) == len(schemas.MESSAGES)
