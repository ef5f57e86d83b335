"""The rows of transitions: what each adds to its instance's trail, chained to the row before it.

Every store keeps these rows as they are made here, so that every chain is verified in one way.
"""

from typing import Any

import orjson

from sagabus.adapters.store_codec import dump_attempt, dump_attempts, dump_events
from sagabus.core.chain import TrailRow, row_link, sum_of
from sagabus.core.instance import Attempt, Instance
from sagabus.errors import InvariantError
from sagabus.ports import Batch


class TransitionRows:
    """The rows of one batch, by instance and version: ``id``, ``workflow``, ``events`` and more."""

    def __init__(self, batch: Batch) -> None:
        """Take the events and the attempts of ``batch``.

        Raises:
            InvariantError: a value has no JSON form, or an attempt no instance in the batch.
        """
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        #: Attempts that have ended and stand in the row of their transition, by instance.
        self.ended: dict[str, list[Attempt]] = {}
        #: The others, which have rows of their own, with their text.
        self.apart: dict[tuple[str, str, int], tuple[Attempt, str]] = {}
        #: By instance: digests of those, by ``task/attempt``; until they are chained.
        self._sums: dict[str, dict[str, str]] = {}
        #: By instance: its newest link.
        self._links = dict(batch.links)
        for entry in batch.history:
            row = self._row(entry.instance, entry.version, entry.workflow)
            row["events"] = dump_events(entry.events, entry.instance)
        self._add_attempts(batch)

    def chain(self, instance: Instance) -> None:
        """Give the row of an instance's transition its link, and the instance its new head."""
        link = self._links[instance.id]
        sums = self._sums.pop(instance.id, None)
        if sums is not None:
            row = self._row(instance.id, instance.version, instance.workflow)
            row["sums"] = orjson.dumps(sums).decode()
        held = self.rows.get((instance.id, instance.version))
        if held is not None:
            link = held["link"] = row_link(link, trail_row(held))
        self._links[instance.id] = instance.chain = link

    def add_state(self, instance: Instance, state: str) -> None:
        """Keep a state that is newer than the one in the instance's own row."""
        self._row(instance.id, instance.version, instance.workflow)["state"] = state

    def _add_attempts(self, batch: Batch) -> None:
        if not batch.attempts:
            return
        instances = {each.id: each for each in batch.instances}
        # Of several states of one attempt only the last counts.
        latest = {
            (instance_id, attempt.task, attempt.attempt): attempt
            for instance_id, attempt in batch.attempts
        }
        for key, attempt in latest.items():
            instance_id, task, number = key
            if instance_id not in instances:
                raise InvariantError(
                    f"an attempt of instance {instance_id} changed and it did not",
                    instance_id=instance_id,
                )
            if attempt.is_inline and not attempt.is_open:
                self.ended.setdefault(instance_id, []).append(attempt)
                continue
            text = dump_attempt(attempt, instance_id)
            self.apart[key] = (attempt, text)
            self._sums.setdefault(instance_id, {})[f"{task}/{number}"] = sum_of(text)
        for instance_id, attempts in self.ended.items():
            instance = instances[instance_id]
            row = self._row(instance_id, instance.version, instance.workflow)
            row["attempts"] = dump_attempts(attempts, instance_id)

    def _row(self, instance_id: str, version: int, workflow: str) -> dict[str, Any]:
        key = (instance_id, version)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = {"id": key, "workflow": workflow, "events": "[]"}
        return row


def trail_row(row: dict[str, Any]) -> TrailRow:
    """What of a row belongs to the trail."""
    instance_id, version = row["id"]
    return TrailRow(
        instance_id,
        version,
        row["workflow"],
        row["events"],
        row.get("attempts"),
        row.get("sums"),
        row.get("link"),
    )
