"""What a family of instances says of itself at its end, held against what was really done."""

from collections import Counter
from collections.abc import Iterator, Mapping

from sagabus.core.definition import Definition
from sagabus.core.instance import InstanceState, InstanceStatus, TaskStatus, task_id
from tests.integration.random_sagas.agents import Outside

S = InstanceStatus


class Family:
    """An instance and those that carry out its stages, all at their end."""

    def __init__(
        self,
        states: Mapping[str, InstanceState],
        definitions: Mapping[str, Definition],
        outside: Outside,
    ) -> None:
        self._states = states
        self._definitions = definitions
        self._outside = outside

    def faults(self) -> Iterator[str]:
        """Every promise that was not kept, a sentence each."""
        for state in self._states.values():
            row = state.row
            where = f"{row.id} ({row.workflow})"
            if not row.status.is_terminal or row.open_attempts or row.in_flight:
                yield f"{where} hangs in {row.status}, {row.open_attempts} attempts open"
                continue
            for fault in (*self._names(state), *self._of_completed(state)):
                yield f"{where}, {row.status}, rollback {row.rollback}: {fault}"
        yield from self._finals_done_twice()

    def _finals_done_twice(self) -> Iterator[str]:
        done: Counter[tuple[str, ...]] = Counter()
        for (instance, task), times in self._outside.done.items():
            if instance not in self._states:
                continue
            stage = self._definitions[instance].stages[task.split("-")[0]]
            if stage.is_once:
                _, _, index = task.split("-")
                done[*self._place_of(instance), stage.name, index] += len(times)
        for place, number in done.items():
            if number > 1:
                yield f"the final effect {' > '.join(place)} was made {number} times"

    def _place_of(self, instance: str) -> tuple[str, ...]:
        """The same for every instance that carries out the same task of the same instance."""
        parent = self._states[instance].row.parent
        if parent is None:
            return (instance,)
        return (*self._place_of(parent.instance), parent.task)

    # --- what stands --------------------------------------------------------------------------

    def _standing(self, state: InstanceState) -> list[str]:
        """Tasks of one instance whose effects are there, by agents or by those below."""
        definition = self._definitions[state.row.id]
        left = []
        for run in state.row.runs.values():
            stage = definition.stages[run.stage]
            for index in range(run.next_index):
                task = task_id(run.stage, run.pass_, index)
                if stage.kind == "workflow":
                    is_left = any(self._leaves(each) for each in self._below(state, task))
                elif stage.compensation is None and stage.classification != "final":
                    is_left = False
                else:
                    plan = stage.compensation
                    undos = len(plan.roles) if plan is not None else 0
                    is_left = self._outside.stands(state.row.id, task, undos)
                if is_left:
                    left.append(task)
        return left

    def _below(self, state: InstanceState, task: str) -> list[InstanceState]:
        return [
            each
            for each in self._states.values()
            if (parent := each.row.parent) is not None
            and (parent.instance, parent.task) == (state.row.id, task)
        ]

    def _leaves(self, state: InstanceState) -> bool:
        return bool(self._standing(state))

    def _names(self, state: InstanceState) -> Iterator[str]:
        row = state.row
        standing = self._standing(state)
        named = {each["task"]: each["is_certain"] for each in row.effects_left}
        if row.status is S.COMPLETED and row.undo_order is None:
            # What it did is meant to stand, but for what was done anew or given up.
            meant = [task for task in named if self._is_meant(state, task)]
            if meant:
                yield f"{meant} are meant to stand, and are named"
            standing = [task for task in standing if not self._is_meant(state, task)]
        if row.status is S.ROLLED_BACK and (standing or named):
            yield f"{standing} stand, and {list(named)} are named"
        if row.rollback == "full" and standing:
            yield f"{standing} stand"
        unnamed = [task for task in standing if task not in named]
        if unnamed:
            yield f"{unnamed} stand, and are not named"
        for task, is_certain in named.items():
            is_below = bool(self._below(state, task))
            if is_certain and not is_below and not self._outside.done.get((row.id, task)):
                yield f"{task} is called certain, and was never done"
            if is_certain and is_below and not self._is_certain_below(state, task):
                yield f"{task} is called certain, and is not below"

    @staticmethod
    def _is_meant(state: InstanceState, task: str) -> bool:
        """Of a completed instance: a task has told in time that it succeeded, and still counts."""
        tries = state.attempts[task]
        run = state.row.runs[f"{tries[0].stage}-{tries[0].pass_}"]
        done = [each for each in tries if each.status is TaskStatus.SUCCEEDED]
        return not run.is_replaced and any(not each.is_late for each in done)

    def _is_certain_below(self, state: InstanceState, task: str) -> bool:
        """Whether an instance that carried out a task has completed, or says it of what it left."""
        is_done = any(each.status is TaskStatus.SUCCEEDED for each in state.attempts[task])
        left = [each for below in self._below(state, task) for each in below.row.effects_left]
        return is_done or any(each["is_certain"] for each in left)

    def _of_completed(self, state: InstanceState) -> Iterator[str]:
        """What a completed instance has done is there."""
        row = state.row
        if row.status is not S.COMPLETED:
            return
        definition = self._definitions[row.id]
        for run in row.runs.values():
            stage = definition.stages[run.stage]
            plan = stage.compensation
            if run.status != "succeeded" or run.is_replaced or stage.kind != "agents":
                continue
            if plan is None and stage.classification != "final":
                continue
            for index in range(run.total):
                task = task_id(run.stage, run.pass_, index)
                undos = len(plan.roles) if plan is not None else 0
                if not self._outside.stands(row.id, task, undos):
                    yield f"{task} succeeded, and is not there"
