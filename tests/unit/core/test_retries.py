"""When a failed attempt is tried again, and when it is not."""

from datetime import timedelta

import pytest

from sagabus.core.definition import RetryPolicy
from sagabus.core.retry import JITTER, next_delay
from sagabus.errors import InvariantError
from tests.unit.core.scene import Scene, seconds, sequence, stage


def policy(**settings) -> RetryPolicy:
    return RetryPolicy(**{"count": 9, "delay": seconds(2), "jitter": False, **settings})


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("constant", [2, 2, 2, 2]),
        ("linear", [2, 4, 6, 8]),
        ("exponential", [2, 4, 8, 16]),
    ],
)
def test_delays_grow_as_the_backoff_says(backoff: str, delays: list[float]) -> None:
    found = [next_delay(policy(backoff=backoff), attempt, "i1:a") for attempt in (2, 3, 4, 5)]
    assert found == [seconds(delay) for delay in delays]


def test_no_delay_is_longer_than_the_longest() -> None:
    capped = policy(count=5000, max_delay=seconds(5))
    assert next_delay(capped, 4, "x") == seconds(5)
    assert next_delay(capped, 5001, "x") == seconds(5)


def test_jitter_takes_up_to_a_tenth_and_is_the_same_for_the_same_task() -> None:
    jittered = policy(jitter=True, backoff="constant", delay=seconds(100))
    delays = [next_delay(jittered, 2, f"i{number}:a") for number in range(200)]
    assert all(seconds(100 * (1 - JITTER)) <= delay <= seconds(100) for delay in delays)
    assert max(delays) - min(delays) > seconds(8)
    assert delays == [next_delay(jittered, 2, f"i{number}:a") for number in range(200)]
    assert next_delay(jittered, 2, "i1:a") != next_delay(jittered, 3, "i1:a")


@pytest.mark.parametrize("attempt", [-1, 0, 1, 11])
def test_a_delay_is_only_known_for_retries_that_the_policy_allows(attempt: int) -> None:
    with pytest.raises(InvariantError):
        next_delay(policy(), attempt, "x")


def retried(**settings) -> Scene:
    return Scene(sequence(stage("a", retry=policy(count=2, **settings)), stage("b"))).start()


def test_a_failed_attempt_is_tried_again_after_its_delay() -> None:
    scene = retried().fail("a-1-0")
    assert scene.data("TaskRetryScheduled")["due_at"] == scene.at + seconds(2)
    scene.wait(1.9)
    assert scene.sent == ["a-1-0/1"]
    scene.wait(0.1)
    assert scene.sent == ["a-1-0/1", "a-1-0/2"]
    scene.succeed("a-1-0")
    assert scene.sent[-1] == "b-1-0/1"
    assert scene.run_of("a").failed == 0


def test_after_the_last_retry_the_stage_fails() -> None:
    scene = retried()
    for _ in range(3):
        scene.fail("a-1-0").wait(60)
    assert scene.sent == ["a-1-0/1", "a-1-0/2", "a-1-0/3"]
    assert scene.status == "failed"
    assert scene.types.count("TaskFailed") == 3


def test_a_failure_that_is_not_retryable_is_not_retried() -> None:
    scene = retried().fail("a-1-0", is_retryable=False)
    assert (scene.status, scene.sent) == ("failed", ["a-1-0/1"])


def test_an_agent_may_name_the_delay_itself() -> None:
    scene = retried().fail("a-1-0", retry_after_s=30.0).wait(29)
    assert scene.sent == ["a-1-0/1"]
    assert scene.wait(1).sent == ["a-1-0/1", "a-1-0/2"]


@pytest.mark.parametrize("asked", [1e300, float("inf")])
def test_an_agent_that_asks_for_eternity_gets_a_year(asked: float) -> None:
    scene = retried().fail("a-1-0", retry_after_s=asked)
    assert scene.attempt("a-1-0").due_at == scene.at + timedelta(days=365)


def test_each_task_of_a_stage_has_its_own_retries() -> None:
    both = stage("a", "r1", "r2", parallel=True, retry=policy(count=1))
    scene = Scene(sequence(both)).start().fail("a-1-0").fail("a-1-1").wait(10)
    assert scene.sent[2:] == ["a-1-0/2", "a-1-1/2"]
    scene.succeed("a-1-0", "a-1-1")
    assert scene.status == "completed"


def test_a_cancelled_instance_gives_up_the_retries_it_planned() -> None:
    scene = retried().fail("a-1-0")
    scene.cancel()
    assert scene.status == "cancelled"
    scene.wait(60)
    assert scene.sent == ["a-1-0/1"]


def test_an_early_or_repeated_timer_starts_no_second_retry() -> None:
    scene = retried().fail("a-1-0")
    scene.timers *= 3
    scene.wait(30)
    assert scene.sent == ["a-1-0/1", "a-1-0/2"]


def test_a_compensation_is_retried_by_its_own_policy() -> None:
    undone = stage("a", undo=("devops",), undo_retry=policy(count=1, delay=seconds(7)))
    scene = Scene(sequence(undone, stage("b", retry=policy()))).start()
    scene.succeed("a-1-0").fail("b-1-0", is_retryable=False).fail("a-1-0-undo-0").wait(6)
    assert scene.sent[-1] == "a-1-0-undo-0/1"
    scene.wait(1).succeed("a-1-0-undo-0")
    assert scene.sent[-1] == "a-1-0-undo-0/2"
    assert scene.status == "rolled_back"
