"""Laws of the machine that hold after every event, whatever the workflow."""

from sagabus.core.instance import InstanceState, InstanceStatus, StageRun, StageStatus

S = InstanceStatus
ENDS = {S.COMPLETED, S.FAILED, S.ROLLED_BACK, S.CANCELLED}
FORWARD = {S.RUNNING, S.WAITING}
BACK = {S.COMPENSATING, S.NEEDS_OPERATOR, S.FAILED, S.ROLLED_BACK, S.CANCELLED}
LEGAL = {
    S.PENDING: FORWARD | BACK | ENDS,
    S.RUNNING: FORWARD | BACK | ENDS,
    S.WAITING: FORWARD | BACK | ENDS,
    S.COMPENSATING: BACK,
    S.NEEDS_OPERATOR: BACK,
}
OVER = {
    StageStatus.SUCCEEDED,
    StageStatus.FAILED,
    StageStatus.TIMED_OUT,
    StageStatus.SKIPPED,
    StageStatus.CANCELLED,
    StageStatus.DENIED,
}
UNDONE = {StageStatus.COMPENSATING, StageStatus.COMPENSATED, StageStatus.COMPENSATION_FAILED}

Sent = list[tuple[str, int]]


def check_step(before: InstanceStatus, state: InstanceState, sent: Sent, ever: Sent) -> None:
    """After one event: ``sent`` are the attempts it put on the bus, ``ever`` all of them."""
    row = state.row
    assert row.status in LEGAL[before], f"{before} became {row.status}"
    assert len(set(ever)) == len(ever), (
        f"sent twice: {[one for one in ever if ever.count(one) > 1]}"
    )
    for task, _ in sent:
        is_undo = "-undo-" in task
        assert before not in ENDS, f"{task} was sent after {before}"
        is_last = row.outcome is not None or row.status in ENDS
        assert is_undo or is_last or before is not S.COMPENSATING, f"{task} sent while {before}"
    for key, run in row.runs.items():
        assert key == f"{run.stage}-{run.pass_}"
        _check_run(key, run)
    _check_counters(state)
    if row.status in FORWARD:
        assert row.active_runs, f"{row.status}, and no run is active"


def _check_run(key: str, run: StageRun) -> None:
    if run.ended_at is None:
        assert run.status in {StageStatus.WAITING, StageStatus.RUNNING}, f"{key} is {run.status}"
        assert run.ended_order == 0
    else:
        assert run.status in OVER | UNDONE, f"{key} has ended, and is {run.status}"
        assert run.in_flight == 0, f"{key} has ended with tasks in flight"
    if run.gate is not None and run.gate.decision not in {"approved", "answered"}:
        assert run.next_index == 0, f"{key} sent a task before a person said so"


def _check_counters(state: InstanceState) -> None:
    row = state.row
    newest = [tries[-1] for tries in state.attempts.values()]
    is_open = [attempt for attempt in newest if attempt.is_open]
    assert row.in_flight == len(is_open), f"in_flight {row.in_flight}, really {len(is_open)}"
    assert row.open_attempts == len(is_open)
    active = [run for run in row.runs.values() if run.ended_at is None]
    assert row.active_runs == len(active), f"active_runs {row.active_runs}, really {len(active)}"
    for key, run in row.runs.items():
        mine = [each for each in is_open if f"{each.stage}-{each.pass_}" == key]
        forward = [each for each in mine if each.kind == "task"]
        assert run.in_flight == len(forward), f"{key}: in_flight {run.in_flight}"
        assert run.undo_in_flight == len(mine) - len(forward)
    ends = sorted(run.ended_order for run in row.runs.values() if run.ended_at is not None)
    assert ends == list(range(1, row.ended_count + 1)), f"order of completion: {ends}"
    if row.status in ENDS:
        assert not active, f"{row.status}, and runs are active"
        assert not is_open, f"{row.status}, and tasks are open"
