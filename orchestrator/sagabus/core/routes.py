"""Where a run leads when it ends: variables published, routes chosen, stages fired.

What is fired starts once the event at hand is applied (``stages.advance``): a chain of stages that
need no agent is a loop, not a recursion.
"""

from collections.abc import Iterable, Iterator

import orjson

from sagabus.core.definition import END, FAIL, Publish, Route
from sagabus.core.instance import (
    Failing,
    Failure,
    Firing,
    Instance,
    StageRun,
    StageStatus,
    run_key,
)
from sagabus.core.scope import is_true, scope_of
from sagabus.core.transition import Transition


class LimitError(Exception):
    """A definition's limit was reached; the message names it."""


class NoChoiceError(Exception):
    """No line of a decision matches, and there is no default."""


def after_success(t: Transition, run: StageRun) -> list[str]:
    """Publish, and fire what a success leads to; gives the targets.

    Raises:
        TemplateError: an expression failed.
        NoChoiceError: its decision names no way on.
        LimitError: the variables have become too large.
    """
    stage = t.stage(run.stage)
    publish(t, run, stage.publish)
    routes = stage.routes
    if routes.decision:
        targets = [_decide(t, run)]
    else:
        targets = _matching(t, run, routes.on_success, "on_success")
    targets += _matching(t, run, routes.on_complete, "on_complete")
    if routes.next is not None:
        targets.append(routes.next)
    needed_by = [name for name in t.definition.arm_of.get(run.stage, ()) if _has_needs(t, name)]
    _fire(t, run, [*targets, *needed_by], None)
    return targets


def after_failure(t: Transition, run: StageRun, failure: Failure) -> list[str]:
    """Fire what a failure leads to; gives the targets, none where nothing handles it.

    Raises:
        TemplateError: an expression failed.
        LimitError: the variables have become too large.
    """
    routes = t.stage(run.stage).routes
    if not (routes.on_failure or routes.on_timeout or routes.on_complete):
        return []
    failed = (run, failure)
    if run.status is StageStatus.TIMED_OUT and routes.on_timeout is not None:
        targets = _matching(t, run, routes.on_timeout, "on_timeout", failed)
    else:
        targets = _matching(t, run, routes.on_failure, "on_failure", failed)
    targets += _matching(t, run, routes.on_complete, "on_complete", failed)
    if all(target == FAIL for target in targets):
        return []
    _fire(t, run, targets, failure)
    return targets


def after_skip(t: Transition, run: StageRun) -> None:
    """A skipped stage fires none of its routes; written order and joins pass over it."""
    routes = t.stage(run.stage).routes
    targets = [] if routes.next is None else [routes.next]
    _fire(t, run, [*targets, *t.definition.arm_of.get(run.stage, ())], None)


def publish(
    t: Transition,
    run: StageRun,
    variables: Publish,
    failed: tuple[StageRun, Failure] | None = None,
) -> None:
    """Set variables as ``run`` ends, one after another; each sees those before it.

    Raises:
        TemplateError: an expression failed.
        LimitError: the variables have become too large.
    """
    for name, template in variables:
        t.row.vars[name] = template.render(scope_of(t, failed))
    if variables:
        check_size(t)
        # Not their values, which may be large: the instance has the newest of each.
        names = list(dict(variables))
        t.record("VariablesPublished", {"stage": run.stage, "variables": names})


def first_vars(t: Transition) -> None:
    """Set the variables that a workflow begins with.

    Raises:
        TemplateError: an expression failed.
        LimitError: the variables are too large.
    """
    if t.definition.vars is not None:
        # A copy: what holds no expression is the definition's own, for every instance.
        t.row.vars = dict(t.definition.vars.render(scope_of(t)))
        check_size(t)


def check_size(t: Transition) -> None:
    """Refuse variables beyond the limit: they are stored with every transition.

    Raises:
        LimitError: they are larger than ``max_payload_bytes``.
    """
    size = len(orjson.dumps(t.row.vars))
    limit = t.definition.max_payload_bytes
    if size > limit:
        raise LimitError(
            f"the variables have {size} bytes, engine.limits.max_payload_bytes allows {limit}"
        )


def _has_needs(t: Transition, name: str) -> bool:
    return t.stage(name).has_needs


def _decide(t: Transition, run: StageRun) -> str:
    choices = t.stage(run.stage).routes.decision
    scope = scope_of(t)
    for choice in sorted(choices, key=lambda each: each.when is None):  # the default comes last
        if is_true(choice.when, scope, "decision.when"):
            return choice.to
    raise NoChoiceError(
        f"no line of the decision of stage {run.stage!r} matches, and none is the default"
    )


def _matching(
    t: Transition,
    run: StageRun,
    routes: Iterable[Route],
    key: str,
    failed: tuple[StageRun, Failure] | None = None,
) -> list[str]:
    targets: list[str] = []
    for route in routes:
        if route.when is None or is_true(route.when, scope_of(t, failed), f"{key}.when"):
            publish(t, run, route.publish, failed)
            targets += route.to
    return targets


def _fire(t: Transition, run: StageRun, targets: list[str], failure: Failure | None) -> None:
    """Fire each target once; a ``fail`` among them fails the workflow when the others are done."""
    key = run_key(run.stage, run.pass_)
    names = list(dict.fromkeys(target for target in targets if target not in {END, FAIL}))
    t.firings.extend(Firing(name, key) for name in names)
    if FAIL in targets:
        message = f"stage {run.stage!r} leads to fail"
        t.row.failing.append(Failing(failure or Failure("fail", message, run.stage), key))


def ancestry(t: Transition, key: str) -> set[str]:
    """A run with all the runs that led to it."""
    found: set[str] = set()
    left = [key]
    while left:
        key = left.pop()
        if key not in found:
            found.add(key)
            left += t.row.runs[key].parents
    return found


def standing(row: Instance, name: str, pass_: int) -> str | None:
    """Key of the run of a stage that counts as a pass; one that a retry has replaced does not."""
    key = run_key(name, pass_)
    if not row.retries:
        return key if key in row.runs else None
    for key, run in row.runs.items():
        if run.stage == name and run.lap == pass_ and not run.is_replaced:
            return key
    return None


def free_pass(t: Transition, name: str, sources: list[str], first: int) -> int | None:
    """The pass in which runs lead to a stage, from ``first`` on; None: it is the second arm.

    To come back to a stage that one descends from is a loop, and begins the next pass.

    Raises:
        LimitError: the stage has run too often.
    """
    pass_ = first
    if standing(t.row, name, pass_) is not None:
        before: set[str] = set().union(*(ancestry(t, key) for key in sources))
        while (key := standing(t.row, name, pass_)) is not None:
            if key not in before:
                return None
            pass_ += 1
    _check_runs(t, name)
    return pass_


def _check_runs(t: Transition, name: str) -> None:
    runs, limit = t.row.runs, t.definition.max_passes
    if len(runs) < limit:
        return  # cheaper than to count, and true of all but long loops
    if sum(run.stage == name and not run.is_replaced for run in runs.values()) >= limit:
        raise LimitError(
            f"stage {name!r} has run {limit} times, which is all that "
            "engine.limits.max_passes allows"
        )


def arrive(t: Transition, name: str, source: str) -> tuple[list[str], int] | None:
    """A run arrives at a join; the runs that start it and their pass, once there are enough.

    Raises:
        LimitError: the stage has run too often.
    """
    stage = t.stage(name)
    run = t.row.runs[source]
    ran = {
        each.lap: key
        for key, each in t.row.runs.items()
        if each.stage == name and not each.is_replaced
    }
    if ran and max(ran) >= run.lap and ran[max(ran)] not in ancestry(t, source):
        ignore(t, name, source)
        return None
    arrived = t.row.arrived.setdefault(name, {})
    arrived.pop(run.stage, None)
    arrived[run.stage] = source
    if len(arrived) < (stage.join or 1):
        return None
    del t.row.arrived[name]
    sources = [arrived[arm] for arm in stage.arms if arm in arrived]
    pass_ = free_pass(t, name, sources, max(t.row.runs[key].lap for key in sources))
    if pass_ is None:
        ignore(t, name, source)
        return None
    return sources, pass_


def ignore(t: Transition, name: str, source: str) -> None:
    """Note the second arm of a diamond: its stage has run in this pass."""
    run = t.row.runs[source]
    for begun in t.row.runs.values():
        if begun.stage == name and begun.lap >= run.lap and not begun.is_replaced:
            begun.other_arms.append(source)
            break
    t.record("ArmIgnored", {"stage": name, "from": run.stage, "pass": run.pass_})


def broken_join(t: Transition) -> Failure | None:
    """A join that some arms wait at, and that no branch can bring to its number any more."""
    if not t.row.arrived:
        return None
    reach: set[str] = set()
    for _, run in t.active_runs():
        reach |= t.definition.reach.get(run.stage, frozenset())
    for name, arrived in t.row.arrived.items():
        stage = t.stage(name)
        lost = [arm for arm in stage.arms if arm not in arrived and arm not in reach]
        if len(stage.arms) - len(lost) < (stage.join or 1):
            what = "needs" if stage.has_needs else f"joins {stage.join} of"
            why = ", ".join(_why_lost(t.row, name, lost))
            message = f"stage {name!r} {what} {', '.join(stage.arms)}, and {why}"
            return Failure("unreachable_join", message, name)
    return None


def _why_lost(row: Instance, name: str, arms: Iterable[str]) -> Iterator[str]:
    """Why ``arms`` will not arrive at the join ``name``: what became of the newest run of each."""
    led = {
        key
        for run in row.runs.values()
        if run.stage == name
        for key in (*run.parents, *run.other_arms)
    }
    newest = {run.stage: (key, run) for key, run in row.runs.items() if not run.is_replaced}
    for arm in arms:
        key, run = newest.get(arm, ("", None))
        if run is None or key in led:  # what an earlier pass of the join began with
            yield f"nothing leads to {arm} any more"
        elif run.error is not None:
            yield f"{arm} failed"
        else:
            yield f"{arm} led elsewhere"


def failing_now(t: Transition) -> Failure | None:
    """The failure that a route asked for, once the branches fired with it have ended."""
    if not t.row.failing:
        return None
    active: set[str] = set().union(*(ancestry(t, key) for key, _ in t.active_runs()))
    return next((each.error for each in t.row.failing if each.source not in active), None)
