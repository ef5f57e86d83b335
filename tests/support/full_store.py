"""Fills an embedded database with active instances, through the store's own commit.

    python -m tests.support.full_store CONFIG DATA WORKFLOW COUNT

The first instance is decided by the machine; the others are its copies under other ids.
"""

import asyncio
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.package_data import data_path
from sagabus.adapters.partitioning import partition_of
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core.definition import Definition
from sagabus.core.events import StartRequested
from sagabus.core.instance import Instance, InstanceState, InstanceStatus
from sagabus.core.machine import decide
from sagabus.definitions.holder import CatalogHolder
from sagabus.ports import Batch
from sagabus.settings import Settings

PARTITIONS = Settings.model_fields["partitions"].default
BATCH = 500
PARAMETERS = {"environment": "staging", "version": "1.2.3", "requested_by": "ann@example.org"}


def started(definition: Definition) -> InstanceState:
    """A fresh instance, as it is stored after its start."""
    now = datetime.now(UTC)
    row = Instance(
        id="model",
        workflow=definition.name,
        digest=definition.digest,
        status=InstanceStatus.PENDING,
        created_at=now,
        updated_at=now,
        version=1,
        parameters=PARAMETERS,
    )
    state = InstanceState(row)
    decide(definition, state, StartRequested(now, "start"))
    return state


async def fill(config: Path, data: Path, workflow: str, count: int) -> None:
    definition = CatalogHolder(config, CedarPolicies.load).current.get(workflow)
    model = started(definition)
    attempts = [each for tries in model.attempts.values() for each in tries if each.has_row]
    store = await SurrealStore.open(
        f"surrealkv://{data / 'db'}", migrations=data_path("migrations")
    )
    await store.save_definition(definition.digest, workflow, definition.document)
    ids: dict[int, list[str]] = {partition: [] for partition in range(PARTITIONS)}
    for number in range(count):
        id = f"instance-{number:06}"
        ids[partition_of(id, PARTITIONS)].append(id)
    for partition, members in ids.items():
        claim = await store.take_partition(partition)
        for number, first in enumerate(range(0, len(members), BATCH), start=claim.batch + 1):
            some = members[first : first + BATCH]
            batch = Batch(
                partition=partition,
                epoch=claim.epoch,
                number=number,
                published=number,
                instances=[replace(deepcopy(model.row), id=id) for id in some],
                attempts=[(id, attempt) for id in some for attempt in attempts],
            )
            await store.commit(batch)
    await store.close()


if __name__ == "__main__":
    _, config, data, workflow, count = sys.argv
    asyncio.run(fill(Path(config), Path(data), workflow, int(count)))
