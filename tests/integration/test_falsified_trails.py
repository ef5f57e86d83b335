"""Rows that somebody edits in the database are found, each way of doing so by its name."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sagabus.adapters.audit_entry import audit_entry
from sagabus.adapters.package_data import data_path
from sagabus.adapters.store_codec import dump_instance
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.app.audit import Audit
from sagabus.core.chain import Fault
from tests.contract.test_trail import store_a_trail
from tests.support.sample_rows import Owner, attempt, entry, instance

MIGRATIONS = data_path("migrations")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SurrealStore]:
    opened = await SurrealStore.open("mem://", migrations=MIGRATIONS)
    await store_a_trail(opened)
    yield opened
    await opened.close()


async def _fault(store: SurrealStore, instance_id: str = "a") -> Fault | None:
    return (await Audit(store.trail, store).verify(instance_id)).fault


@pytest.mark.parametrize(
    ("sql", "kind", "version"),
    [
        # The test's own row is intact; so it is the falsification that is found.
        ("RETURN 1", None, 0),
        (
            "UPDATE history_event:['a', 2] SET events = string::replace(events, 'Task', 'X')",
            "changed",
            2,
        ),
        (
            "UPDATE history_event:['a', 2] SET attempts = string::replace(attempts, '1}', '2}')",
            "changed",
            2,
        ),
        ("DELETE history_event:['a', 3]", "missing", 4),
        ("DELETE history_event:['a', 6]", "cut_off", 6),
        ("DELETE history_event:['a', 1]..['a', 9]", "cut_off", 6),
        ("UPDATE history_event:['a', 4] SET link = NONE", "not_chained", 4),
        # All of them, and so they may be older than the chain; but the instance holds a link.
        ("UPDATE history_event:['a', 1]..['a', 9] SET link = NONE", "cut_off", 6),
        (
            "UPDATE task_execution:['a', 'large-1-0', 1]"
            " SET state = string::replace(state, '4}', '5}')",
            "changed",
            6,
        ),
        ("DELETE task_execution:['a', 'large-1-0', 1]", "missing", 6),
        (
            "CREATE task_execution:['a', 'more-1-0', 1] SET status = 'succeeded', state = '{}'",
            "added",
            6,
        ),
        (
            "LET $two = history_event:['a', 2].*; LET $three = history_event:['a', 3].*;"
            "UPDATE history_event:['a', 2] SET events = $three.events, link = $three.link;"
            "UPDATE history_event:['a', 3] SET events = $two.events, link = $two.link",
            "moved",
            2,
        ),
        (
            "UPDATE workflow_instances:a SET state = string::replace(state, 'chain', 'x')",
            "cut_off",
            6,
        ),
        ("UPDATE workflow_instances:a SET state = 'gone'", "unreadable", 0),
    ],
)
async def test_an_edited_database_is_found_out(
    store: SurrealStore, sql: str, kind: str | None, version: int
) -> None:
    await store.connection.run(f"{sql};")
    fault = await _fault(store)
    assert (fault and fault.kind, fault.version if fault else 0) == (kind, version)


async def test_rows_that_are_older_than_the_chain_are_not_covered(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for path in MIGRATIONS.glob("*.surql"):
        if path.stem < "006":
            (old / path.name).write_bytes(path.read_bytes())
    url = f"surrealkv://{tmp_path}/db"
    store = await SurrealStore.open(url, migrations=old)
    columns = "template_name: 'flow', status: 'running', version: 2, open_slot: 1"
    owner = await Owner.of(store)
    before = instance("a", 2)
    await store.connection.run(
        "CREATE history_event:['a', 1] SET workflow = 'flow', events = $first;"
        "CREATE history_event:['a', 2] SET workflow = 'flow', events = '[]', attempts = '[]';"
        f"CREATE workflow_instances:a CONTENT {{ {columns}, created_at: time::now(),"
        " updated_at: time::now(), state: $state };"
        "CREATE task_execution:['a', 'old-1-0', 1] SET status = 'succeeded', state = '{}';",
        first='[{"seq":1,"type":"WorkflowStarted","at":"2026-03-01T12:00:00Z","data":{}}]',
        state=_state(before),
    )
    await store.close()
    store = await SurrealStore.open(url, migrations=MIGRATIONS)
    assert await _fault(store) is None
    owner = await Owner.of(store)
    row = await store.load_row("a")
    assert row is not None
    row.version, row.seq = 3, 2
    after = entry("a", 3)
    after.events[0]["seq"] = 2  # type: ignore[index]
    await owner.commit(row, attempts=[("a", attempt())], history=[after])
    verdict = await Audit(store.trail, store).verify("a")
    assert (verdict.fault, verdict.rows, verdict.not_covered) == (None, 3, 2)
    await store.connection.run("UPDATE history_event:['a', 3] SET link = NONE;")
    fault = await _fault(store)
    assert fault is not None
    assert fault.kind == "cut_off"  # the instance holds a link
    await store.close()


def _state(row: Any) -> str:
    row.seq = 1
    return dump_instance(row)


@pytest.mark.parametrize(
    ("sql", "kind", "number"),
    [
        ("UPDATE audit:[2] SET entry = string::replace(entry, 'ann', 'bob')", "changed", 2),
        ("DELETE audit:[2]", "missing", 3),
        ("DELETE audit:[3]", "cut_off", 3),
        ("DELETE audit", "cut_off", 1),
    ],
)
async def test_edited_entries_are_found_out(
    store: SurrealStore, sql: str, kind: str, number: int
) -> None:
    audit = Audit(store.trail, store)
    for n in range(3):
        await store.trail.add(audit_entry("DeadLetterDropped", by="ann", data={"n": n}))
    await store.connection.run(f"{sql};")
    fault = (await audit.verify_entries()).fault
    assert fault is not None
    assert (fault.kind, fault.version) == (kind, number)
