"""Instances, attempts and batches as the machine makes them, for tests of stores."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sagabus.core.instance import (
    Answer,
    Attempt,
    Failure,
    Gate,
    Instance,
    InstanceStatus,
    StageRun,
    StageStatus,
    TaskStatus,
)
from sagabus.ports import Batch, HistoryEntry, Store

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def instance(
    instance_id: str = "wf-1",
    version: int = 1,
    *,
    status: InstanceStatus = InstanceStatus.RUNNING,
    workflow: str = "deploy_pipeline",
    created_at: datetime = START,
    parameters: dict[str, Any] | None = None,
    **more: Any,
) -> Instance:
    return Instance(
        id=instance_id,
        workflow=workflow,
        digest="d" * 64,
        status=status,
        created_at=created_at,
        updated_at=created_at + timedelta(seconds=version),
        version=version,
        parameters=parameters if parameters is not None else {"region": "eu-1", "count": 3},
        runs={
            "build-1": StageRun(
                stage="build",
                pass_=1,
                status=StageStatus.WAITING,
                started_at=created_at,
                gate=Gate(asked_at=created_at, due_at=created_at + timedelta(hours=1)),
                error=Failure("timeout", "too slow", stage="build"),
            )
        },
        answers={"start-1": Answer(ok=True, result={"status": "running"})},
        seq=version,
        **more,
    )


def attempt(
    task: str = "build-1-0",
    number: int = 1,
    *,
    status: TaskStatus = TaskStatus.DISPATCHED,
    **more: Any,
) -> Attempt:
    return Attempt(
        task=task,
        attempt=number,
        stage=task.partition("-")[0],
        pass_=1,
        index=0,
        kind="task",
        role="devops",
        action="build",
        status=status,
        created_at=START,
        **more,
    )


def entry(instance_id: str = "wf-1", version: int = 1, **data: Any) -> HistoryEntry:
    event = {
        "seq": version,
        "type": "TaskScheduled",
        "at": START + timedelta(seconds=version),
        "data": data,
    }
    return HistoryEntry(instance_id, version, "deploy_pipeline", [event])


class Owner:
    """Owns a partition and numbers its batches."""

    def __init__(self, store: Store, partition: int, epoch: int, number: int):
        self.store = store
        self.partition = partition
        self.epoch = epoch
        self.number = number

    @classmethod
    async def of(cls, store: Store, partition: int = 0) -> "Owner":
        claim = await store.take_partition(partition)
        return cls(store, partition, claim.epoch, claim.batch)

    def batch(
        self,
        *instances: Instance,
        attempts: Sequence[tuple[str, Attempt]] = (),
        history: Sequence[HistoryEntry] = (),
        items: Sequence[tuple[str, str, list[Any]]] = (),
    ) -> Batch:
        """The next batch, not yet stored."""
        return Batch(
            partition=self.partition,
            epoch=self.epoch,
            number=self.number + 1,
            published=self.number,
            instances=instances,
            attempts=attempts,
            history=history,
            items=items,
        )

    async def commit(
        self,
        *instances: Instance,
        attempts: Sequence[tuple[str, Attempt]] = (),
        history: Sequence[HistoryEntry] = (),
        items: Sequence[tuple[str, str, list[Any]]] = (),
    ) -> None:
        batch = self.batch(*instances, attempts=attempts, history=history, items=items)
        await self.store.commit(batch)
        self.number += 1
