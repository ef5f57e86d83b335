"""Small workflows straight from the language's description, each with the path it must take.

``path`` is every run in the order in which the stages began, with what became of it. Tasks end in
the order in which they were sent, well, unless ``outcomes`` says otherwise (see
``choosing.Script``). One file, because it is one table.
"""

from dataclasses import dataclass, field

from tests.unit.language.naive_graph import Doc


@dataclass(frozen=True, slots=True)
class Case:
    """One workflow, what happens to its tasks, and what it must lead to."""

    name: str
    #: The stages as TOML; a line without ``=`` names a stage, done by an agent.
    stages: str
    path: str
    end: str = "completed"
    error: str | None = None
    handled: int = 0
    outcomes: Doc = field(default_factory=dict)
    outputs: Doc = field(default_factory=dict)
    #: Stages whose tasks end before all others.
    first: tuple[str, ...] = ()
    #: Keys of the workflow and of the engine, as TOML.
    workflow: str = ""
    limits: str = ""
    vars: Doc | None = None
    output: Doc | None = None
    #: Arms that came second: target, and the run.
    ignored: tuple[tuple[str, str], ...] = ()
    rollback: str = "none"
    parameters: Doc = field(default_factory=dict)

    def toml(self) -> str:
        """The whole file."""
        lines = ["[engine]", "workflow_timeout = 0"]
        if self.limits:
            lines.append(f"limits = {{{self.limits}}}")
        lines += ["[[workflows]]", 'name = "flow"', self.workflow]
        for line in self.stages.strip().splitlines():
            written = line.strip()
            if "=" in written:
                lines.append(written)
                continue
            name, _, kind = written.partition(" ")
            lines += ["[[workflows.stages]]", f'name = "{name}"']
            lines += [kind or 'agents = ["dev"]'] if kind != "plain" else []
        return "\n".join(lines) + "\n"


CASES = [
    Case(
        "stages follow each other as written",
        """
        a
        b
        c
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded",
    ),
    Case(
        "a handler named by an earlier stage is off the main line",
        """
        a
        on_failure = "undo"
        undo
        b
        """,
        "a-1 succeeded, b-1 succeeded",
    ),
    Case(
        "a handled failure goes on and is counted; the handler is followed by nothing",
        """
        a
        on_failure = "undo"
        undo
        b
        """,
        "a-1 failed, undo-1 succeeded",
        outcomes={"a": "boom"},
        handled=1,
    ),
    Case(
        "a stage that only a later one names stays on the main line",
        """
        a
        b
        on_success = [{when = "{{ task.b.result.again }}", do = "a"}]
        """,
        "a-1 succeeded, b-1 succeeded",
        outputs={"b": {"again": False}},
    ),
    Case(
        "an unhandled failure fails the workflow and starts nothing more",
        """
        a
        b
        """,
        "a-1 failed",
        end="failed",
        error="boom",
        outcomes={"a": "boom"},
    ),
    Case(
        "a route that does not match handles nothing",
        """
        a
        on_failure = [{when = "{{ error.type == 'timeout' }}", do = "b"}]
        b
        """,
        "a-1 failed",
        end="failed",
        error="boom",
        outcomes={"a": "boom"},
    ),
    Case(
        "end handles a failure, and leads nowhere",
        """
        a
        on_failure = "end"
        b
        """,
        "a-1 failed",
        handled=1,
        outcomes={"a": "boom"},
    ),
    Case(
        "fail alone handles nothing",
        """
        a
        on_failure = "fail"
        """,
        "a-1 failed",
        end="failed",
        error="boom",
        outcomes={"a": "boom"},
    ),
    Case(
        "fail beside another target lets that end first",
        """
        a
        on_failure = ["undo", "fail"]
        undo
        on_success = "after"
        after
        """,
        "a-1 failed, undo-1 succeeded, after-1 succeeded",
        end="failed",
        error="boom",
        handled=1,
        outcomes={"a": "boom"},
    ),
    Case(
        "fail on success fails at once when it stands alone",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "fail"
        c
        """,
        "a-1 succeeded, b-1 succeeded, c-1 cancelled",
        end="failed",
        error="fail",
    ),
    Case(
        "fail waits for what was started beside it, not for other branches",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = ["fail", "d"]
        c
        d
        """,
        "a-1 succeeded, b-1 succeeded, c-1 cancelled, d-1 succeeded",
        end="failed",
        error="fail",
        first=("b", "d"),
    ),
    Case(
        "a timeout takes on_timeout where there is one",
        """
        a
        on_failure = "b"
        on_timeout = "c"
        b
        c
        """,
        "a-1 timed_out, c-1 succeeded",
        handled=1,
        outcomes={"a": "timeout"},
    ),
    Case(
        "a timeout takes on_failure where there is no on_timeout, then on_complete",
        """
        a
        on_failure = "b"
        on_complete = "c"
        b
        c
        """,
        "a-1 timed_out, b-1 succeeded, c-1 succeeded",
        handled=1,
        outcomes={"a": "timeout"},
    ),
    Case(
        "every route that matches fires, in order, each target once",
        """
        a
        on_success = [{do = ["b", "c"]}, {when = "{{ 1 == 2 }}", do = "d"}, {do = ["b", "d"]}]
        b
        c
        d
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded",
    ),
    Case(
        "a decision takes the first line that matches",
        """
        a
        decision = [{when = "{{ vars.n > 1 }}", next = "b"}, {when = "{{ true }}", next = "c"}]
        b
        c
        """,
        "a-1 succeeded, b-1 succeeded",
        workflow="vars = {n = 2}",
    ),
    Case(
        "a decision without a match takes its default",
        """
        a
        decision = [{when = "{{ task.a.result.n > 1 }}", next = "b"}, {default = "c"}]
        b
        c
        """,
        "a-1 succeeded, c-1 succeeded",
        outputs={"a": {"n": 0}},
    ),
    Case(
        "a decision without a match and without a default fails the workflow",
        """
        a
        decision = [{when = "{{ task.a.result.n > 1 }}", next = "b"}]
        on_failure = "b"
        b
        """,
        "a-1 succeeded",
        end="failed",
        error="no_decision",
        outputs={"a": {"n": 0}},
    ),
    Case(
        "a decision stands aside on a failure",
        """
        a
        decision = [{default = "b"}]
        on_failure = "c"
        b
        c
        """,
        "a-1 failed, c-1 succeeded",
        handled=1,
        outcomes={"a": "boom"},
    ),
    Case(
        "the main line passes over a skipped stage",
        """
        a
        b
        when = "{{ false }}"
        c
        """,
        "a-1 succeeded, b-1 skipped, c-1 succeeded",
    ),
    Case(
        "a skipped stage fires none of its routes",
        """
        a
        on_success = "b"
        when = "{{ false }}"
        b
        """,
        "a-1 skipped",
    ),
    Case(
        "a join counts a skipped arm as arrived",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "d"
        c
        when = "{{ false }}"
        on_success = "d"
        d
        join = "all"
        """,
        "a-1 succeeded, b-1 succeeded, c-1 skipped, d-1 succeeded",
    ),
    Case(
        "a condition that is text is an error that nothing handles",
        """
        a
        on_failure = "b"
        when = "{{ 'false' }}"
        b
        """,
        "a-1 failed",
        end="failed",
        error="template_error",
    ),
    Case(
        "the second arm of a diamond is ignored",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "d"
        c
        on_success = "d"
        d
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded",
        ignored=(("d", "c-1"),),
    ),
    Case(
        "a join waits for all its arms",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "d"
        c
        on_success = "d"
        d
        join = "all"
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded",
    ),
    Case(
        "a join of two of three starts with the second, and ignores the third",
        """
        a
        on_success = ["b", "c", "d"]
        b
        on_success = "e"
        c
        on_success = "e"
        d
        on_success = "e"
        e
        join = 2
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded, e-1 succeeded",
        ignored=(("e", "d-1"),),
        first=("b", "c"),
    ),
    Case(
        "a join that cannot be satisfied any more fails at once",
        """
        a
        on_success = ["b", "c", "d"]
        b
        on_success = "e"
        c
        on_success = [{when = "{{ false }}", do = "e"}]
        d
        e
        join = "all"
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 cancelled",
        end="failed",
        error="unreachable_join",
    ),
    Case(
        "needs start a stage when all have succeeded, whatever their routes",
        """
        a
        on_success = ["b", "c"]
        b
        c
        on_success = "end"
        d
        needs = ["b", "c"]
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded",
    ),
    Case(
        "a stage whose needs never began never runs",
        """
        a
        on_failure = "b"
        b
        c
        needs = ["b"]
        """,
        "a-1 succeeded",
    ),
    Case(
        "a handled failure is no success for those who need it",
        """
        a
        on_success = ["b", "c"]
        b
        c
        on_failure = "end"
        d
        needs = ["b", "c"]
        """,
        "a-1 succeeded, b-1 succeeded, c-1 failed",
        end="failed",
        error="unreachable_join",
        handled=1,
        outcomes={"c": "boom"},
    ),
    Case(
        "a loop begins the next pass, and its passes are counted per stage",
        """
        a
        publish = {n = "{{ vars.n + 1 }}"}
        b
        decision = [{when = "{{ vars.n < 3 }}", next = "a"}, {default = "c"}]
        c
        """,
        "a-1 succeeded, b-1 succeeded, a-2 succeeded, b-2 succeeded, a-3 succeeded, "
        "b-3 succeeded, c-3 succeeded",
        workflow="vars = {n = 0}",
        vars={"n": 3},
    ),
    Case(
        "a stage may lead to itself",
        """
        a
        on_failure = "a"
        b
        """,
        "a-1 failed, a-2 failed, a-3 succeeded, b-3 succeeded",
        outcomes={"a-1": "boom", "a-2": "boom"},
        handled=2,
    ),
    Case(
        "more passes than allowed fail the workflow",
        """
        a
        on_complete = "a"
        """,
        "a-1 succeeded, a-2 succeeded",
        end="failed",
        error="limit",
        limits="max_passes = 2",
    ),
    Case(
        "loops one after the other do not share what is allowed",
        """
        a
        publish = {n = "{{ vars.n + 1 }}"}
        decision = [{when = "{{ vars.n < 3 }}", next = "a"}, {default = "b"}]
        b
        publish = {m = "{{ vars.m + 1 }}"}
        decision = [{when = "{{ vars.m < 3 }}", next = "b"}, {default = "end"}]
        """,
        "a-1 succeeded, a-2 succeeded, a-3 succeeded, b-3 succeeded, b-4 succeeded, b-5 succeeded",
        workflow="vars = {n = 0, m = 0}",
        vars={"n": 3, "m": 3},
        limits="max_passes = 3",
    ),
    Case(
        "the stage of an inner loop counts on when the outer loop comes round",
        """
        a
        b
        publish = {n = "{{ vars.n + 1 }}"}
        decision = [{when = "{{ vars.n % 2 == 1 }}", next = "b"}, {default = "a"}]
        """,
        "a-1 succeeded, b-1 succeeded, b-2 succeeded, a-2 succeeded, b-3 succeeded",
        workflow="vars = {n = 0}",
        end="failed",
        error="limit",
        limits="max_passes = 3",
    ),
    Case(
        "a stage that two loops lead through ends both at its limit",
        """
        a
        on_success = "c"
        b
        on_success = "c"
        c
        publish = {n = "{{ vars.n + 1 }}"}
        decision = [{when = "{{ vars.n < 3 }}", next = "a"}, {default = "b"}]
        """,
        "a-1 succeeded, c-1 succeeded, a-2 succeeded, c-2 succeeded, a-3 succeeded, "
        "c-3 succeeded, b-3 succeeded",
        workflow="vars = {n = 0}",
        end="failed",
        error="limit",
        limits="max_passes = 3",
    ),
    Case(
        "a join takes the newest firing of each arm and the highest pass",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "d"
        c
        publish = {n = "{{ vars.n + 1 }}"}
        on_success = [{when = "{{ vars.n < 2 }}", do = "c"}, {when = "{{ vars.n >= 2 }}", do = "d"}]
        d
        join = "all"
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, c-2 succeeded, d-2 succeeded",
        workflow="vars = {n = 0}",
    ),
    Case(
        "a join in a loop runs once per pass",
        """
        a
        on_success = ["b", "c"]
        b
        on_success = "d"
        c
        on_success = "d"
        d
        join = "all"
        publish = {n = "{{ vars.n + 1 }}"}
        decision = [{when = "{{ vars.n < 2 }}", next = "a"}, {default = "end"}]
        """,
        "a-1 succeeded, b-1 succeeded, c-1 succeeded, d-1 succeeded, "
        "a-2 succeeded, b-2 succeeded, c-2 succeeded, d-2 succeeded",
        workflow="vars = {n = 0}",
    ),
    Case(
        "publish comes before the routes, and the routes' before their targets",
        """
        a
        publish = [{x = "{{ task.a.result.n }}"}, {y = "{{ vars.x + 1 }}"}]
        on_success = [{when = "{{ vars.y == 8 }}", do = "b", publish = {z = "{{ vars.y + 1 }}"}}]
        b
        when = "{{ vars.z == 9 }}"
        """,
        "a-1 succeeded, b-1 succeeded",
        outputs={"a": {"n": 7}},
        vars={"x": 7, "y": 8, "z": 9},
    ),
    Case(
        "stages without inbound edge start together where the order is that of the graph",
        """
        a
        on_success = "c"
        b
        on_success = "c"
        c
        join = "all"
        d
        """,
        "a-1 succeeded, b-1 succeeded, d-1 succeeded, c-1 succeeded",
        workflow='order = "graph"',
    ),
    Case(
        "a block ends when all its stages have, and fails if one did",
        """
        a plain
        type = "parallel"
        stages = [{name = "a1", agents = ["dev"]}, {name = "a2", agents = ["ops"]}]
        on_failure = "c"
        b
        c
        """,
        "a-1 failed, a1-1 failed, a2-1 succeeded, c-1 succeeded",
        outcomes={"a1": "boom"},
        handled=1,
    ),
    Case(
        "an empty list succeeds at once",
        """
        a
        with_items = "{{ parameters.items }}"
        publish = {x = "{{ task.a.result }}"}
        b
        """,
        "a-1 succeeded, b-1 succeeded",
        parameters={"items": []},
        vars={"x": []},
    ),
    Case(
        "all items run though one fails, and failed ones are null",
        """
        a
        with_items = "{{ [1, 2, 3] }}"
        on_failure = [{do = "b", publish = {x = "{{ task.a.result }}"}}]
        b
        """,
        "a-1 failed, b-1 succeeded",
        outcomes={"a-1-1": "boom"},
        outputs={"a-1-0": "A", "a-1-2": "C"},
        vars={"x": ["A", None, "C"]},
        handled=1,
    ),
    Case(
        "what is no list fails the workflow",
        """
        a
        with_items = "{{ 3 }}"
        on_failure = "b"
        b
        """,
        "a-1 failed",
        end="failed",
        error="template_error",
    ),
    Case(
        "a task is tried again, and its stage succeeds",
        """
        a
        retry = {count = 2, delay = 1}
        """,
        "a-1 succeeded",
        outcomes={"a": ["boom", "boom", "ok"]},
    ),
    Case(
        "an error that on_error refuses is not tried again",
        """
        a
        retry = {count = 2, delay = 1, on_error = "{{ error.type == 'timeout' }}"}
        """,
        "a-1 failed",
        end="failed",
        error="boom",
        outcomes={"a": ["boom", "ok"]},
    ),
    Case(
        "a rejected approval is a failure that can be handled",
        """
        a
        approval_required = true
        on_failure = "b"
        b
        """,
        "a-1 failed, b-1 succeeded",
        outcomes={"a": "reject"},
        handled=1,
    ),
    Case(
        "an approval that nobody gives in time is a timeout",
        """
        a
        approval_required = true
        approval = {timeout = 60}
        on_timeout = "b"
        b
        """,
        "a-1 timed_out, b-1 succeeded",
        outcomes={"a": "wait"},
        handled=1,
    ),
    Case(
        "on_end runs last, whatever the end, and its failure changes nothing",
        """
        a
        last
        """,
        "a-1 failed, last-1 failed",
        end="failed",
        error="boom",
        outcomes={"a": "boom", "last": "boom"},
        workflow='on_end = "last"',
    ),
    Case(
        "what has succeeded is undone in reverse order of completion, then on_end runs",
        """
        a
        compensation_agents = ["dev"]
        b
        compensation_agents = ["dev"]
        c
        last
        input = {why = "{{ error.type }}"}
        """,
        "a-1 compensated, b-1 compensated, c-1 failed, last-1 succeeded",
        end="rolled_back",
        rollback="full",
        error="boom",
        outcomes={"c": "boom"},
        workflow='on_end = "last"',
    ),
    Case(
        "a compensation that fails leaves the rest to be undone",
        """
        a
        compensation_agents = ["dev"]
        b
        compensation_agents = ["dev"]
        compensation = {retry = {count = 0}}
        c
        """,
        "a-1 compensated, b-1 compensation_failed, c-1 failed",
        end="failed",
        rollback="partial",
        error="boom",
        outcomes={"c": "boom", "b-1-0-undo-0": "boom"},
    ),
    Case(
        "the output is rendered as far as possible",
        """
        a
        b
        """,
        "a-1 succeeded, b-1 failed",
        end="failed",
        error="boom",
        outcomes={"b": "boom"},
        outputs={"a": {"n": 1}},
        workflow='output_map = {n = "{{ task.a.result.n }}", m = "{{ task.b.result.m }}"}',
        output={"n": 1, "m": None},
    ),
]
