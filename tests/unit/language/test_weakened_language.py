"""The games are worth something: each rule of the language, weakened, makes some of them go wrong.

One rule is broken at a time, by replacing one function of the machine or of the compiler. The
names of the functions below say what each makes of the language instead of what is right.
One file, because it is one list.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sagabus.core import ending, routes, saga, scope, stages
from sagabus.core.definition import FAIL, Definition
from sagabus.core.instance import InstanceStatus, StageStatus, run_key
from sagabus.core.routes import LimitError
from sagabus.definitions import flow
from tests.unit.language.choosing import Luck
from tests.unit.language.drive import Duel
from tests.unit.language.playing import load
from tests.unit.language.random_graphs import Game

#: Weaker rules are found in far fewer.
GAMES = 1_500

Patch = pytest.MonkeyPatch


@cache
def loaded(seed: int) -> tuple[Game, Definition | None]:
    """Compiled once for all rules of the machine."""
    with TemporaryDirectory() as directory:
        return load(seed, Path(directory))[:2]


# --- passes and joins -----------------------------------------------------------------------------


def _next_free(t, name: str, first: int) -> int:
    pass_ = first
    while run_key(name, pass_) in t.row.runs:
        pass_ += 1
    routes._check_runs(t, name)
    return pass_


def second_arms_start_their_stage_again(patch: Patch) -> None:
    patch.setattr(routes, "free_pass", lambda t, name, sources, first: _next_free(t, name, first))


def loops_are_second_arms(patch: Patch) -> None:
    def once(t, name, sources, first):
        return None if run_key(name, first) in t.row.runs else first

    patch.setattr(routes, "free_pass", once)


def loops_come_round_once_too_often(patch: Patch) -> None:
    check_runs = routes._check_runs

    def generous(t, name):
        more = replace(t.definition, max_passes=t.definition.max_passes + 1)
        check_runs(replace(t, definition=more), name)

    patch.setattr(routes, "_check_runs", generous)


def the_pass_counts_as_the_number_of_runs(patch: Patch) -> None:
    free_pass = routes.free_pass

    def strict(t, name, sources, first):
        pass_ = free_pass(t, name, sources, first)
        if pass_ is not None and pass_ > max(first, t.definition.max_passes):
            raise LimitError("too many")
        return pass_

    patch.setattr(routes, "free_pass", strict)


def every_stage_counts_towards_the_limit(patch: Patch) -> None:
    def of_all(t, name):
        if len(t.row.runs) >= t.definition.max_passes + len(t.definition.stages):
            raise LimitError("too many")

    patch.setattr(routes, "_check_runs", of_all)


def joins_start_with_their_first_arm(patch: Patch) -> None:
    def at_once(t, name, source):
        pass_ = routes.free_pass(t, name, [source], t.row.runs[source].pass_)
        return None if pass_ is None else ([source], pass_)

    patch.setattr(routes, "arrive", at_once)


def joins_keep_what_they_have_used(patch: Patch) -> None:
    arrive = routes.arrive

    def keep(t, name, source):
        before = dict(t.row.arrived.get(name, {}))
        start = arrive(t, name, source)
        if start is not None:
            t.row.arrived[name] = {**before, t.row.runs[source].stage: source}
        return start

    patch.setattr(routes, "arrive", keep)


def joins_take_the_lowest_pass(patch: Patch) -> None:
    arrive = routes.arrive

    def lowest(t, name, source):
        start = arrive(t, name, source)
        if start is None:
            return None
        first = min(t.row.runs[key].pass_ for key in start[0])
        return start[0], _next_free(t, name, first)

    patch.setattr(routes, "arrive", lowest)


def joins_keep_the_oldest_firing_of_an_arm(patch: Patch) -> None:
    arrive = routes.arrive

    def oldest(t, name, source):
        arm = t.row.runs[source].stage
        return arrive(t, name, t.row.arrived.get(name, {}).get(arm, source))

    patch.setattr(routes, "arrive", oldest)


def joins_that_hang_are_not_noticed(patch: Patch) -> None:
    patch.setattr(routes, "broken_join", lambda _: None)


def joins_hang_while_an_arm_may_still_come(patch: Patch) -> None:
    broken_join = routes.broken_join

    def hasty(t):
        definition = t.definition
        t.definition = replace(definition, reach={name: frozenset() for name in definition.reach})
        found = broken_join(t)
        t.definition = definition
        return found

    patch.setattr(routes, "broken_join", hasty)


# --- routes ---------------------------------------------------------------------------------------


def the_main_line_stops_at_a_skipped_stage(patch: Patch) -> None:
    def joins_only(t, run):
        routes._fire(t, run, list(t.definition.arm_of.get(run.stage, ())), None)

    patch.setattr(routes, "after_skip", joins_only)


def skipped_stages_arrive_nowhere(patch: Patch) -> None:
    def next_only(t, run):
        following = t.stage(run.stage).routes.next
        routes._fire(t, run, [] if following is None else [following], None)

    patch.setattr(routes, "after_skip", next_only)


def skipped_stages_fire_their_routes(patch: Patch) -> None:
    patch.setattr(routes, "after_skip", routes.after_success)


def only_the_first_route_that_matches_fires(patch: Patch) -> None:
    matching = routes._matching

    def first(t, lines, key, failed=None):
        for line in lines:
            if targets := matching(t, [line], key, failed):
                return targets
        return []

    patch.setattr(routes, "_matching", first)


def the_last_choice_that_matches_decides(patch: Patch) -> None:
    def last(t, run):
        choices = t.stage(run.stage).routes.decision
        for choice in reversed([each for each in choices if each.when is not None]):
            if scope.is_true(choice.when, scope.scope_of(t), "decision.when"):
                return choice.to
        default = [each.to for each in choices if each.when is None]
        if not default:
            raise routes.NoChoiceError
        return default[0]

    patch.setattr(routes, "_decide", last)


def whatever_is_not_empty_is_true(patch: Patch) -> None:
    def is_true(template, values, key):
        return template is None or bool(template.render(values))

    patch.setattr(routes, "is_true", is_true)
    patch.setattr(stages, "is_true", is_true)


def on_complete_is_for_successes(patch: Patch) -> None:
    matching = routes._matching

    def successes(t, lines, key, failed=None):
        return [] if key == "on_complete" and failed else matching(t, lines, key, failed)

    patch.setattr(routes, "_matching", successes)


def timeouts_take_on_failure(patch: Patch) -> None:
    after_failure = routes.after_failure

    def as_failure(t, run, failure):
        status, run.status = run.status, StageStatus.FAILED
        handled = after_failure(t, run, failure)
        run.status = status
        return handled

    patch.setattr(routes, "after_failure", as_failure)


def routes_publish_nothing(patch: Patch) -> None:
    matching = routes._matching

    def silent(t, lines, key, failed=None):
        return matching(t, [replace(line, publish=()) for line in lines], key, failed)

    patch.setattr(routes, "_matching", silent)


def only_the_last_variable_is_published(patch: Patch) -> None:
    publish = routes.publish
    patch.setattr(
        routes, "publish", lambda t, run, lines, failed=None: publish(t, run, lines[-1:], failed)
    )


# --- failures -------------------------------------------------------------------------------------


def a_route_to_end_handles_nothing(patch: Patch) -> None:
    after_failure = routes.after_failure

    def only_stages(t, run, failure):
        before = len(t.firings)
        return after_failure(t, run, failure) and len(t.firings) > before

    patch.setattr(routes, "after_failure", only_stages)


def a_route_to_fail_handles_a_failure(patch: Patch) -> None:
    after_failure = routes.after_failure

    def any_route(t, run, failure):
        handled = after_failure(t, run, failure)
        lines = t.stage(run.stage).routes.on_failure
        return handled or any(line.when is None and FAIL in line.to for line in lines)

    patch.setattr(routes, "after_failure", any_route)


def denials_can_be_handled(patch: Patch) -> None:
    def handle(t, run, failure):
        if failure.type == "denied" and t.stage(run.stage).routes.on_failure:
            run.error = failure
            saga.end_if_settled(t, run)
            run.is_handled = bool(routes.after_failure(t, run, failure))
            t.row.handled_failures += run.is_handled
        else:
            fail_run(t, run, failure)

    fail_run = stages.fail_run
    patch.setattr(stages, "fail_run", handle)


def handled_failures_count_for_those_who_need_the_stage(patch: Patch) -> None:
    after_failure = routes.after_failure

    def fire_needs(t, run, failure):
        handled = after_failure(t, run, failure)
        if handled:
            arms = t.definition.arm_of.get(run.stage, ())
            needs = [name for name in arms if t.stage(name).has_needs]
            routes._fire(t, run, needs, failure)
        return handled

    patch.setattr(routes, "after_failure", fire_needs)


def fail_waits_for_every_branch(patch: Patch) -> None:
    failing_now = routes.failing_now
    patch.setattr(routes, "failing_now", lambda t: None if t.row.active_runs else failing_now(t))


def fail_waits_for_nothing(patch: Patch) -> None:
    patch.setattr(
        routes, "failing_now", lambda t: t.row.failing[0].error if t.row.failing else None
    )


def blocks_end_with_their_first_failure(patch: Patch) -> None:
    child_ended = stages._child_ended

    def hasty(t, run):
        block = t.row.runs[run_key(t.stage(run.stage).block, run.pass_)]
        if run.error is not None and block.ended_at is None:
            block.total = block.succeeded + block.failed + 1
        child_ended(t, run)

    patch.setattr(stages, "_child_ended", hasty)


# --- tasks and values -----------------------------------------------------------------------------


def lists_know_no_concurrency(patch: Patch) -> None:
    patch.setattr(stages, "_limit", lambda stage, run: run.total)


def slots_go_to_the_newest_run(patch: Patch) -> None:
    fill = stages._fill

    def newest(t):
        t.row.unfilled.reverse()
        is_sent = fill(t)
        t.row.unfilled.reverse()
        return is_sent

    patch.setattr(stages, "_fill", newest)


def every_error_is_tried_again(patch: Patch) -> None:
    plan_retry = stages.plan_retry

    def always(t, attempt, *, is_retryable, after_s):
        return plan_retry(t, attempt, is_retryable=True, after_s=after_s)

    patch.setattr(stages, "plan_retry", always)


def failed_items_are_left_out_of_the_result(patch: Patch) -> None:
    stage_result = scope.stage_result

    def shorter(t, stage, run):
        found = stage_result(t, stage, run)
        return [each for each in found if each is not None] if isinstance(found, list) else found

    patch.setattr(scope, "stage_result", shorter)


def templates_see_the_run_that_began_last(patch: Patch) -> None:
    begin = scope._Stages.__init__

    def last(self, t, failed):
        begin(self, t, failed)
        self._runs = {run.stage: run for run in t.row.runs.values()}

    patch.setattr(scope._Stages, "__init__", last)


# --- the end --------------------------------------------------------------------------------------


def on_end_is_for_successes(patch: Patch) -> None:
    end = ending._end

    def successes(t, outcome):
        if outcome is not InstanceStatus.COMPLETED:
            t.definition = replace(t.definition, on_end=None)
        end(t, outcome)

    patch.setattr(ending, "_end", successes)


def the_output_is_for_successes(patch: Patch) -> None:
    render = ending._render_output

    def successes(t):
        if t.row.status is InstanceStatus.COMPLETED:
            render(t)

    patch.setattr(ending, "_render_output", successes)


def stages_are_undone_oldest_first(patch: Patch) -> None:
    end_run = saga.end_run

    def backwards(t, run, status, error=None):
        end_run(t, run, status, error)
        for each in t.row.runs.values():
            if each.ended_at is not None and each is not run:
                each.ended_order += 1
        run.ended_order = 1

    patch.setattr(saga, "end_run", backwards)


def final_successes_hold_nothing_back(patch: Patch) -> None:
    patch.setattr(saga, "_is_past_undoing", lambda _: False)


def what_stands_is_not_named(patch: Patch) -> None:
    patch.setattr(saga, "effects_left", lambda _: [])


# --- the compiler ---------------------------------------------------------------------------------


def handlers_stand_on_the_main_line(patch: Patch) -> None:
    patch.setattr(flow.Flow, "main_line", property(lambda self: tuple(self.by_name)))


def every_stage_is_followed_by_the_next(patch: Patch) -> None:
    patch.setattr(flow, "has_success_route", lambda _: False)


def needs_are_no_joins(patch: Patch) -> None:
    join_of = flow.Flow.join_of
    patch.setattr(
        flow.Flow, "join_of", lambda self, stage: None if stage.needs else join_of(self, stage)
    )


MACHINE: list[Callable[[Patch], None]] = [
    second_arms_start_their_stage_again,
    loops_are_second_arms,
    loops_come_round_once_too_often,
    the_pass_counts_as_the_number_of_runs,
    every_stage_counts_towards_the_limit,
    joins_start_with_their_first_arm,
    joins_keep_what_they_have_used,
    joins_take_the_lowest_pass,
    joins_keep_the_oldest_firing_of_an_arm,
    joins_that_hang_are_not_noticed,
    joins_hang_while_an_arm_may_still_come,
    the_main_line_stops_at_a_skipped_stage,
    skipped_stages_arrive_nowhere,
    skipped_stages_fire_their_routes,
    only_the_first_route_that_matches_fires,
    the_last_choice_that_matches_decides,
    whatever_is_not_empty_is_true,
    on_complete_is_for_successes,
    timeouts_take_on_failure,
    routes_publish_nothing,
    only_the_last_variable_is_published,
    a_route_to_end_handles_nothing,
    a_route_to_fail_handles_a_failure,
    denials_can_be_handled,
    handled_failures_count_for_those_who_need_the_stage,
    fail_waits_for_every_branch,
    fail_waits_for_nothing,
    blocks_end_with_their_first_failure,
    lists_know_no_concurrency,
    slots_go_to_the_newest_run,
    every_error_is_tried_again,
    failed_items_are_left_out_of_the_result,
    templates_see_the_run_that_began_last,
    on_end_is_for_successes,
    the_output_is_for_successes,
    stages_are_undone_oldest_first,
    final_successes_hold_nothing_back,
    what_stands_is_not_named,
]
COMPILER: list[Callable[[Patch], None]] = [
    handlers_stand_on_the_main_line,
    every_stage_is_followed_by_the_next,
    needs_are_no_joins,
]


def _goes_wrong(seed: int, game: Game, definition: Definition | None) -> bool:
    if definition is None:
        return False
    try:
        Duel(game, definition).play(Luck(seed))
    except Exception as error:
        print(f"seed {seed}: {type(error).__name__}: {str(error)[:200]}")
        return True
    return False


@pytest.mark.parametrize("weaken", MACHINE, ids=lambda weaken: weaken.__name__)
def test_games_find_that(weaken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    weaken(monkeypatch)
    if not any(_goes_wrong(seed, *loaded(seed)) for seed in range(GAMES)):
        pytest.fail(f"{GAMES} games, and none of them noticed")


@pytest.mark.parametrize("weaken", COMPILER, ids=lambda weaken: weaken.__name__)
def test_games_find_that_the_compiler_says(
    weaken: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path
) -> None:
    weaken(monkeypatch)
    if not any(_goes_wrong(seed, *load(seed, tmp_path)[:2]) for seed in range(GAMES)):
        pytest.fail(f"{GAMES} games, and none of them noticed")
