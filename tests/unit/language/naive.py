"""A second interpreter of the workflow language, as naive as can be: the judge of the machine.

It reads the workflow document, not the compiled definition, and was written from the language's
description alone. Plain dicts, recursion, and everything counted anew whenever it is asked for.
One file, because every rule of the language must be found in one reading.

A run is ``{stage, pass, parents, status, is_over, gate, items, tasks, error, ...}``, a task
``{role, item, tries, output}``, a try ``{state, input, outcome}`` where the state goes from
``sent`` to ``claimed`` (only where it is undone) to ``over``, or ``retry`` before the next try.

Where the description leaves an order open, this is it: all routes of an end are read, and their
variables set, before any of their targets starts; targets start in the order in which they were
fired, those of routes before the next of the main line before those who need the stage; slots go
to the run that was ready first; joins are looked at, and ``fail``, before tasks are sent. A stage
that a failure interrupts is ``cancelled``, or ``failed`` where a task of it had failed before. The
error of a block is that of the stage in it that failed first.
"""

from copy import deepcopy
from typing import Any

from tests.unit.language import naive_graph as graph
from tests.unit.language.naive_graph import END, FAIL, Doc
from tests.unit.language.naive_values import ValueFailedError, truth, value

#: Carries out what needs no agent.
CORE = "_core"
OPEN = ("sent", "claimed", "retry")
TIMEOUTS = ("timeout", "start_timeout", "approval_timeout")


class WorkflowFailsError(Exception):
    """Nothing handles this: the workflow fails at once."""

    def __init__(self, type_: str, stage: str | None) -> None:
        super().__init__(type_)
        self.error = {"type": type_, "stage": stage}


class Naive:
    """One instance of a workflow."""

    def __init__(
        self, engine: Doc, workflow: Doc, parameters: Doc, *, has_policies: bool = False
    ) -> None:
        self.has_policies = has_policies
        self.engine = engine
        self.limits = {"max_items": 10_000, "max_passes": 1_000, **engine.get("limits", {})}
        self.workflow = workflow
        self.stages = graph.all_stages(workflow)
        self.block = {name: graph.block_of(workflow, name) for name in self.stages}
        self.next = graph.nexts(workflow)
        self.arms = graph.arms(workflow)
        self.join = graph.joins(workflow)
        self.reach = graph.reach(workflow)
        self.parameters = parameters
        self.vars = value(workflow.get("vars", {}), {"parameters": parameters})
        self.runs: dict[str, Doc] = {}
        #: Keys: of runs that may send tasks, and of runs that have ended, in that order.
        self.ready: list[str] = []
        self.ended: list[str] = []
        self.arrived: dict[str, dict[str, str]] = {}
        self.ignored: list[tuple[str, str]] = []
        #: Targets not yet started, with the run that leads there, and tasks that need no agent.
        self.fired: list[tuple[Doc, str]] = []
        self.local: list[Doc] = []
        #: Ends that led to ``fail``: the error, and the key of the run.
        self.failing: list[tuple[Doc, str]] = []
        self.error: Doc | None = None
        self.is_cancelled = False
        #: ``new``, ``forward``, ``undoing``, ``held`` (what is final has happened, and a person has
        #: to say how to go on), ``last`` (``on_end`` runs), ``over``.
        self.phase = "new"
        self.undos: list[Doc] = []
        self.outcome = ""
        self.rollback = "none"
        self.output: Doc = {}

    # --- what happens -------------------------------------------------------------------------

    def happen(self, event: Doc) -> None:
        """Take one event: ``{what, ...}`` with what it is about."""
        details = {name: each for name, each in event.items() if name != "what"}
        try:
            getattr(self, "on_" + event["what"])(**details)
            self.go_on()
        except WorkflowFailsError as failure:
            self.fail(failure.error)
        self.look_for_the_end()

    def go_on(self) -> None:
        """Start what was fired, first fired first started; then send tasks; until all is still."""
        while self.phase in ("forward", "last"):
            if self.fired:
                self.fire(*self.fired.pop(0))
                continue
            self.look_for_dead_ends()
            if self.local:
                self.end_local(self.local.pop(0))
            elif not self.send_tasks():
                return

    def end_local(self, task: Doc) -> None:
        """End a task that needs no agent: an echo gives its input, a question its answer."""
        found = self.find(**task)
        is_echo = self.stages[self.runs[task["run"]]["stage"]]["action"] == "core.echo"
        output = found["tries"][-1]["input"] if is_echo else found.get("answer")
        self.on_result(task, "ok", output)

    def on_start(self) -> None:
        self.phase = "forward"
        for name in graph.entry(self.workflow):
            self.begin(name, 1, [])

    def on_claim(self, task: Doc) -> None:
        self.find(**task)["tries"][-1]["state"] = "claimed"

    def on_retry_due(self, task: Doc) -> None:
        found = self.find(**task)
        found["tries"][-1]["state"] = "over"
        found["tries"].append({**found["tries"][-1], "state": "sent", "outcome": None})

    def on_result(self, task: Doc, outcome: str, output: Any) -> None:
        """``outcome`` is ``ok``, or the type of the error."""
        found = self.find(**task)
        found["tries"][-1].update(state="over", outcome=outcome)
        if outcome == "ok":
            found["output"] = output
        elif self.is_tried_again(found, task, outcome):
            found["tries"][-1]["state"] = "retry"
            return
        if "entry" not in task:
            self.task_over(self.runs[task["run"]], outcome)

    def on_permitted(self, task: Doc) -> None:
        """The policies permit an attempt, which leaves now."""
        is_local = self.find(**task)["role"] == CORE
        if is_local and self.stages[self.runs[task["run"]]["stage"]]["action"] != "core.sleep":
            self.local.append(task)

    def on_denied(self, task: Doc) -> None:
        """The policies deny an attempt, which never leaves: no route handles that."""
        found = self.find(**task)
        found["tries"][-1].update(state="over", outcome="denied")
        if "entry" in task:
            return
        run = self.runs[task["run"]]
        if self.phase == "undoing":
            self.task_over(run, "denied")
            return
        run["error"] = "denied"
        if not in_flight(run["tasks"]):
            self.end_interrupted(run)
        raise WorkflowFailsError("denied", run["stage"])

    def on_answer(self, stage: str, is_approved: bool) -> None:
        run = next(r for r in self.active() if r["stage"] == stage and r["gate"] == "waiting")
        self.answer(run, "approved" if is_approved else "rejected")

    def on_inquiry(self, stage: str, data: Any) -> None:
        """The answer to a question is the result of its stage."""
        run = next(r for r in self.active() if r["stage"] == stage and r["gate"] == "waiting")
        run.update(gate="answered", status="running")
        first = {"state": "sent", "input": None, "outcome": None}
        run["tasks"] = [
            {"role": CORE, "item": None, "tries": [first], "output": None, "answer": data}
        ]
        if not self.has_policies:
            self.local.append({"run": key_of(run), "index": 0})

    def on_wake_up(self, task: Doc) -> None:
        """A ``core.sleep`` is over."""
        self.on_result(task, "ok", None)

    def on_time_is_up(self) -> None:
        """The workflow took too long."""
        raise WorkflowFailsError("timeout", None)

    def on_gate_timeout(self, run: str) -> None:
        if self.stages[self.runs[run]["stage"]].get("action") == "core.inquiry":
            self.runs[run].update(gate="timed_out", error="timeout")
            self.end(self.runs[run])
            return
        on_timeout = self.stages[self.runs[run]["stage"]]["approval"].get("on_timeout", "reject")
        self.answer(self.runs[run], "approved" if on_timeout == "approve" else "timed_out")

    def on_cancel(self) -> None:
        if self.phase == "held":
            self.is_cancelled = True
            self.phase = "undoing"
            return
        if self.phase != "forward":
            return  # refused: it is being undone already, or about to be over
        self.is_cancelled = True
        raise WorkflowFailsError("cancelled", None)

    def find(self, run: str, index: int, entry: int | None = None) -> Doc:
        """A task, or the ``entry``-th compensation of it."""
        if entry is None:
            return self.runs[run]["tasks"][index]
        of = (run, index, entry)
        return next(undo for undo in self.undos if undo["of"] == of)

    # --- stages begin -------------------------------------------------------------------------

    def fire(self, run: Doc, name: str) -> None:
        """``run`` leads to the stage ``name``."""
        if self.join[name] is not None:
            self.arrive(run, name)
            return
        pass_ = run["pass"]
        while key(name, pass_) in self.runs:
            if not self.descends(run, key(name, pass_)):
                self.ignored.append((name, key_of(run)))
                return
            pass_ += 1
        self.begin(name, pass_, [key_of(run)])

    def descends(self, run: Doc, ancestor: str) -> bool:
        """A chain of parents leads from ``run`` to ``ancestor``, or it is that itself."""
        if key_of(run) == ancestor:
            return True
        return any(self.descends(self.runs[parent], ancestor) for parent in run["parents"])

    def arrive(self, run: Doc, name: str) -> None:
        """An arm of the join ``name`` has fired."""
        newest = self.newest_pass(name)
        if newest >= run["pass"] and not self.descends(run, key(name, newest)):
            self.ignored.append((name, key_of(run)))
            return
        arrived = self.arrived.setdefault(name, {})
        arrived[run["stage"]] = key_of(run)
        if len(arrived) < self.join[name]:
            return
        parents = [arrived[arm] for arm in self.arms[name] if arm in arrived]
        del self.arrived[name]
        pass_ = max(self.runs[parent]["pass"] for parent in parents)
        while key(name, pass_) in self.runs:
            pass_ += 1
        self.begin(name, pass_, parents)

    def newest_pass(self, name: str) -> int:
        """0 where the stage has not run."""
        return max((run["pass"] for run in self.runs.values() if run["stage"] == name), default=0)

    def begin(self, name: str, pass_: int, parents: list[str]) -> None:
        """Start a stage, or skip it."""
        if sum(run["stage"] == name for run in self.runs.values()) >= self.limits["max_passes"]:
            raise WorkflowFailsError("limit", name)
        run = {
            "stage": name,
            "pass": pass_,
            "parents": parents,
            "status": "pending",
            "is_over": False,
            "gate": None,
            "items": None,
            "tasks": [],
            "error": None,
            "is_handled": False,
            "is_stopped": False,
        }
        self.runs[key_of(run)] = run
        stage = self.stages[name]
        if "when" in stage and not self.ask(stage["when"], run):
            self.skip(run)
        elif stage.get("approval_required"):
            run.update(gate="waiting", status="waiting")
        else:
            self.get_ready(run)

    def answer(self, run: Doc, decision: str) -> None:
        """The gate of a run opens, or stays shut."""
        run["gate"] = decision
        if decision == "approved":
            self.get_ready(run)
        else:
            run["error"] = "rejected" if decision == "rejected" else "approval_timeout"
            self.end(run)

    def get_ready(self, run: Doc) -> None:
        """Nothing stands before the tasks of a run any more."""
        stage = self.stages[run["stage"]]
        if stage.get("action") == "core.inquiry":
            run.update(gate="waiting", status="waiting")
            return
        run["status"] = "running"
        if stage.get("type") == "parallel":
            for child in graph.children(stage):
                self.begin(child, run["pass"], run["parents"])
            return
        if "with_items" in stage:
            items = self.evaluate(stage["with_items"], run)
            if not isinstance(items, list):
                raise self.broken(run)
            if len(items) > self.limits["max_items"]:
                run["error"] = "limit"
                self.end_interrupted(run)
                raise WorkflowFailsError("limit", run["stage"])
            run["items"] = len(items)
            if size := stage.get("batch_size"):
                items = [items[at : at + size] for at in range(0, len(items), size)]
            [role] = stage.get("agents", [CORE])
            entries = [(role, item) for item in items]
        else:
            entries = [(role, None) for role in stage.get("agents", [CORE])]
        run["tasks"] = [
            {"role": role, "item": item, "tries": [], "output": None} for role, item in entries
        ]
        self.ready.append(key_of(run))
        if not run["tasks"]:
            self.end(run)

    # --- tasks --------------------------------------------------------------------------------

    def send_tasks(self) -> bool:
        """Send what may be sent, of the run that was ready first; whether there was anything."""
        is_sent = False
        for one in self.ready:
            run = self.runs[one]
            stage = self.stages[run["stage"]]
            for index, task in enumerate(run["tasks"]):
                if run["is_over"] or task["tries"] or not self.may_send(run):
                    continue
                if "input" in stage:
                    scope = self.item_scope(run, index)
                    input_ = self.evaluate(stage["input"], run, **scope)
                else:
                    input_ = self.default_input(run, index)
                task["tries"].append({"state": "sent", "input": input_, "outcome": None})
                is_sent = True
                is_local = task["role"] == CORE and stage["action"] != "core.sleep"
                if is_local and not self.has_policies:
                    self.local.append({"run": one, "index": index})
        return is_sent

    def may_send(self, run: Doc) -> bool:
        stage = self.stages[run["stage"]]
        if "with_items" in stage:
            limit = stage.get("concurrency", 0)
        else:
            limit = stage.get("max_parallel", 0) if stage.get("parallel") else 1
        is_free = limit == 0 or in_flight(run["tasks"]) < limit
        return is_free and self.has_slot() and not self.has_stopped(run)

    def has_slot(self) -> bool:
        slots = self.engine.get("max_parallel_tasks", 10)
        return slots == 0 or self.in_flight() < slots

    def in_flight(self) -> int:
        return sum(in_flight(run["tasks"]) for run in self.runs.values()) + in_flight(self.undos)

    def has_stopped(self, run: Doc) -> bool:
        """A task has failed, and the stage sends no more after that."""
        if run["is_stopped"]:
            return True
        stage = self.stages[run["stage"]]
        if "with_items" in stage:
            stops = stage.get("fail_fast", False)
        else:
            stops = not stage.get("parallel", False)
        return stops and run["error"] is not None

    def item_scope(self, run: Doc, index: int) -> Doc:
        if run["items"] is None:
            return {}
        return {"item": run["tasks"][index]["item"], "index": index}

    def default_input(self, run: Doc, index: int) -> Doc:
        previous = {
            self.runs[parent]["stage"]: self.result(self.runs[parent]) for parent in run["parents"]
        }
        given = {**self.parameters, "previous": previous, **self.item_scope(run, index)}
        return {**given, **self.error_scope(None)}

    def is_tried_again(self, task: Doc, of: Doc, error: str) -> bool:
        stage = self.stages[self.runs[of["run"]]["stage"]]
        if "entry" in of:
            retry = stage.get("compensation", {}).get("retry", {"count": 3})
        elif self.phase in ("forward", "last"):
            retry = stage.get("retry", {"count": 0})
        else:
            return False
        if len(task["tries"]) > retry["count"] or error == "permanent":
            return False
        if "on_error" not in retry:
            return True
        return self.ask(retry["on_error"], self.runs[of["run"]], error=error)

    def task_over(self, run: Doc, outcome: str) -> None:
        if outcome != "ok":
            run["error"] = run["error"] or outcome
        if in_flight(run["tasks"]):
            return
        if self.phase == "undoing":
            self.end_interrupted(run)
        elif self.has_stopped(run) or all(task["tries"] for task in run["tasks"]):
            self.end(run)

    # --- stages end ---------------------------------------------------------------------------

    def end(self, run: Doc) -> None:
        """Everything of a run has ended."""
        stage = self.stages[run["stage"]]
        if run["error"] is None:
            self.set_over(run, "succeeded")
            self.publish(stage.get("publish", {}), run)
            if self.phase == "forward":
                self.lead_on(run)
        else:
            self.set_over(run, failed_status(run["error"]))
            if self.phase == "forward" and self.block[run["stage"]] is None:
                self.handle(run)
        if self.block[run["stage"]] is not None:
            self.end_block(run)

    def set_over(self, run: Doc, status: str) -> None:
        run.update(status=status, is_over=True)
        self.ended.append(key_of(run))

    def end_block(self, child: Doc) -> None:
        block = self.runs[key(self.block[child["stage"]], child["pass"])]
        names = graph.children(self.stages[block["stage"]])
        runs = [self.runs.get(key(name, block["pass"])) for name in names]
        block["error"] = block["error"] or child["error"]
        if all(run is not None and run["is_over"] for run in runs):
            self.end(block)

    def skip(self, run: Doc) -> None:
        """Its ``when`` is false: it fires nothing, but nobody waits for it."""
        self.set_over(run, "skipped")
        name = run["stage"]
        if self.block[name] is not None:
            self.end_block(run)
            return
        if self.phase != "forward":
            return
        joins = [other for other, arms in self.arms.items() if name in arms and self.join[other]]
        self.fire_all(run, [self.next[name], *joins])

    def fire_all(self, run: Doc, names: list[str | None]) -> None:
        """Have the targets of one end started, each once."""
        self.fired += [
            (run, name) for name in dict.fromkeys(names) if name not in (None, END, FAIL)
        ]

    def lead_on(self, run: Doc) -> None:
        """After a success."""
        if self.block[run["stage"]] is not None:
            return
        name = run["stage"]
        stage = self.stages[name]
        if "decision" in stage:
            routes = [{"do": [self.choose(run)]}]
        else:
            routes = graph.routes(stage.get("on_success"))
        names = self.take(run, routes + graph.routes(stage.get("on_complete")))
        needed_by = graph.needed_by(self.workflow, name)
        self.fire_all(run, [*names, self.next[name], *needed_by])
        if FAIL in names:
            self.failing.append(({"type": "fail", "stage": name}, key_of(run)))

    def choose(self, run: Doc) -> str:
        for line in self.stages[run["stage"]]["decision"]:
            if "default" in line:
                return line["default"]
            if self.ask(line["when"], run):
                return line["next"]
        raise WorkflowFailsError("no_decision", run["stage"])

    def handle(self, run: Doc) -> None:
        """After a failure."""
        stage = self.stages[run["stage"]]
        is_timeout = run["status"] == "timed_out" and "on_timeout" in stage
        routes = graph.routes(stage.get("on_timeout" if is_timeout else "on_failure"))
        names = self.take(run, routes + graph.routes(stage.get("on_complete")))
        if not set(names) - {FAIL}:
            raise WorkflowFailsError(run["error"], self.blamed(run))
        run["is_handled"] = True
        self.fire_all(run, names)
        if FAIL in names:
            error = {"type": run["error"], "stage": self.blamed(run)}
            self.failing.append((error, key_of(run)))

    def blamed(self, run: Doc) -> str:
        """Of a block it is the stage in it that failed first."""
        for one in self.ended:
            child = self.runs[one]
            is_in_it = self.block[child["stage"]] == run["stage"] and child["pass"] == run["pass"]
            if is_in_it and child["error"]:
                return child["stage"]
        return run["stage"]

    def take(self, run: Doc, routes: list[Doc]) -> list[str]:
        """The targets of every route that matches; their variables are published."""
        names: list[str] = []
        for route in routes:
            if "when" not in route or self.ask(route["when"], run, error=run["error"]):
                self.publish(route.get("publish", {}), run, error=run["error"])
                names += route["do"]
        return names

    # --- the end ------------------------------------------------------------------------------

    def look_for_the_end(self) -> None:
        """After every event."""
        if self.phase == "forward" and not self.active():
            self.finish("completed")
        if self.phase == "undoing":
            self.undo()
        if self.phase == "last" and not self.active():
            self.phase = "over"
            self.output = {
                name: self.or_null(template)
                for name, template in self.workflow.get("output_map", {}).items()
            }

    def look_for_dead_ends(self) -> None:
        if self.phase == "forward":
            self.look_for_failed_branches()
            self.look_for_hanging_joins()

    def look_for_failed_branches(self) -> None:
        """Everything that was started beside ``fail`` has ended."""
        for error, origin in self.failing:
            if not any(self.descends(run, origin) for run in self.active()):
                raise WorkflowFailsError(error["type"], error["stage"])

    def look_for_hanging_joins(self) -> None:
        """A join has begun, and too few of its arms can fire any more."""
        for name, arrived in self.arrived.items():
            possible = set(arrived)
            for run in self.active():
                if self.block[run["stage"]] is None:
                    possible |= self.reach[run["stage"]] & set(self.arms[name])
            if len(possible) < self.join[name]:
                raise WorkflowFailsError("unreachable_join", name)

    def fail(self, error: Doc) -> None:
        """The workflow fails: nothing new begins, what was claimed settles."""
        if self.phase == "last":  # that changes nothing but the last stage: it sends no more
            for run in self.active():
                run["is_stopped"] = True
                if not in_flight(run["tasks"]):
                    self.set_over(run, failed_status(run["error"]))
            return
        self.error = self.error or error
        self.phase = "undoing"
        self.fired.clear()
        self.local.clear()
        for run in self.active():
            for task in run["tasks"]:
                if task["tries"] and task["tries"][-1]["state"] in ("sent", "retry"):
                    task["tries"][-1]["state"] = "over"
            if not in_flight(run["tasks"]):
                self.end_interrupted(run)

    def end_interrupted(self, run: Doc) -> None:
        self.set_over(run, failed_status(run["error"]) if run["error"] else "cancelled")

    def undo(self) -> None:
        """Undo in reverse order of completion, one stage after another."""
        if self.active():
            return
        is_wanted = self.is_cancelled or self.saga("on_failure", "compensate") == "compensate"
        is_asked = self.is_cancelled or self.saga("after_final", "hold") == "compensate"
        if is_wanted and not is_asked and any(is_certain for _, is_certain in self.finals()):
            self.phase = "held"
            return
        for one in reversed(self.ended if is_wanted else []):
            if not self.undo_run(self.runs[one], one):
                return
        failed = [undo for undo in self.undos if undo["tries"][-1]["outcome"] != "ok"]
        if failed or (self.undos and self.left()):
            self.rollback = "partial"
        elif self.undos:
            self.rollback = "full"
        if self.is_cancelled:
            self.finish("cancelled")
        else:
            self.finish("rolled_back" if self.rollback == "full" else "failed")

    def finals(self) -> list[tuple[str, bool]]:
        """Tasks of final stages that were done, or may have been, and whether that is certain."""
        outcomes = {
            f"{one}-{index}": [each["outcome"] for each in task["tries"]]
            for one, run in self.runs.items()
            if is_final(self.stages[run["stage"]])
            for index, task in enumerate(run["tasks"])
        }
        return [
            (task, "ok" in each)
            for task, each in outcomes.items()
            if "ok" in each or "timeout" in each
        ]

    def left(self) -> list[str]:
        """Tasks of which something stands, or may."""
        undone: dict[tuple[str, int], bool] = {}
        for undo in self.undos:
            is_gone = undo["tries"][-1]["outcome"] == "ok"
            undone[undo["of"][:2]] = undone.get(undo["of"][:2], True) and is_gone
        standing = [
            f"{one}-{index}"
            for one, run in self.runs.items()
            if is_undone(self.stages[run["stage"]])
            for index, task in enumerate(run["tasks"])
            if self.wants_undo(self.stages[run["stage"]], task)
            and not undone.get((one, index), False)
        ]
        left = sorted([*standing, *(task for task, _ in self.finals())])
        if self.outcome != "completed":
            return left
        succeeded = {  # and is meant to stand
            f"{one}-{index}"
            for one, run in self.runs.items()
            for index, task in enumerate(run["tasks"])
            if any(each["outcome"] == "ok" for each in task["tries"])
        }
        return [task for task in left if task not in succeeded]

    def undo_run(self, run: Doc, one: str) -> bool:
        """True when everything of this run is undone, or could not be."""
        stage = self.stages[run["stage"]]
        if not is_undone(stage):
            return True
        roles = stage.get("compensation_agents") or stage["agents"]
        wanted = [
            (one, index, entry)
            for index, task in enumerate(run["tasks"])
            if self.wants_undo(stage, task)
            for entry in range(len(roles))
        ]
        sent = [undo["of"] for undo in self.undos]
        for of in wanted:
            if of not in sent and self.has_slot():
                self.send_undo(stage, of, roles[of[2]])
        undos = [undo for undo in self.undos if undo["of"] in wanted]
        if not undos:
            return True
        if len(undos) < len(wanted) or in_flight(undos):
            run["status"] = "compensating"
            return False
        has_failed = any(undo["tries"][-1]["outcome"] != "ok" for undo in undos)
        run["status"] = "compensation_failed" if has_failed else "compensated"
        return True

    def send_undo(self, stage: Doc, of: tuple[str, int, int], role: str) -> None:
        try:
            template = stage.get("compensation", {}).get("input")
            input_ = self.evaluate(template, self.runs[of[0]])
            first = {"state": "sent", "input": input_, "outcome": None}
        except WorkflowFailsError:  # nothing is sent, and that is a compensation that failed
            first = {"state": "over", "input": None, "outcome": "template_error"}
        self.undos.append({"of": of, "role": role, "tries": [first]})

    def wants_undo(self, stage: Doc, task: Doc) -> bool:
        outcomes = [one["outcome"] for one in task["tries"]]
        if "ok" in outcomes:
            return True
        match stage.get("compensation", {}).get("compensate_self", "unknown"):
            case "unknown":
                return "timeout" in outcomes
            case "always":
                return any(each not in (None, "denied") for each in outcomes)
        return False

    def finish(self, outcome: str) -> None:
        """What is left is ``on_end``."""
        self.outcome = outcome
        self.phase = "last"
        if "on_end" in self.workflow:
            try:
                self.begin(self.workflow["on_end"], 1, [])
                self.go_on()
            except WorkflowFailsError as failure:
                self.fail(failure.error)

    def saga(self, name: str, default: str) -> str:
        return self.workflow.get("saga", {}).get(name, default)

    # --- values -------------------------------------------------------------------------------

    def scope(self, **more: Any) -> Doc:
        newest = sorted(self.runs.values(), key=lambda run: run["pass"])
        task = {run["stage"]: self.task_values(run) for run in newest}
        return {
            "parameters": self.parameters,
            "vars": self.vars,
            "task": task,
            "stage": task,
            **more,
        }

    def task_values(self, run: Doc) -> Doc:
        return {
            "result": self.result(run),
            "status": run["status"],
            "error": error_value(run["error"]),
            "total_count": len(run["tasks"]) if run["items"] is None else run["items"],
        }

    def result(self, run: Doc) -> Any:
        stage = self.stages[run["stage"]]
        if run["status"] == "skipped":
            return None
        if stage.get("type") == "parallel":
            runs = {name: self.runs.get(key(name, run["pass"])) for name in graph.children(stage)}
            return {name: child and self.result(child) for name, child in runs.items()}
        outputs = [task["output"] for task in run["tasks"]]
        if "with_items" in stage:
            return outputs
        agents = stage.get("agents", [CORE])
        outputs = outputs or [None] * len(agents)
        return outputs if len(agents) > 1 else outputs[0]

    def error_scope(self, error: str | None) -> Doc:
        """``error``: in routes after a failure, in ``retry.on_error``, and in ``on_end``."""
        if self.phase == "last":
            return {"error": self.error and {**self.error, "message": "why"}}
        return {} if error is None else {"error": error_value(error)}

    def evaluate(self, template: Any, run: Doc, error: str | None = None, **more: Any) -> Any:
        try:
            return deepcopy(value(template, self.scope(**more, **self.error_scope(error))))
        except ValueFailedError as failed:
            raise self.broken(run) from failed

    def ask(self, template: str, run: Doc, error: str | None = None) -> bool:
        values = self.scope(**self.error_scope(error))
        name = run["stage"]
        if error is not None and run["pass"] == self.newest_pass(name):
            values["task"][name]["error"] = error_value(error)
        try:
            return truth(template, values)
        except ValueFailedError as failed:
            raise self.broken(run) from failed

    def broken(self, run: Doc) -> WorkflowFailsError:
        """A template of this run's stage has failed."""
        if not run["is_over"]:
            run["error"] = "template_error"
            if not in_flight(run["tasks"]):
                self.end_interrupted(run)
        return WorkflowFailsError("template_error", run["stage"])

    def publish(self, publish: Any, run: Doc, error: str | None = None) -> None:
        for table in publish if isinstance(publish, list) else [publish]:
            for name, template in table.items():
                self.vars = {**self.vars, name: self.evaluate(template, run, error)}

    def or_null(self, template: Any) -> Any:
        try:
            return deepcopy(value(template, self.scope()))
        except ValueFailedError:
            return None

    # --- what is seen -------------------------------------------------------------------------

    def has_sent(self, run: str, index: int, entry: int | None = None) -> bool:
        if entry is not None:
            return (run, index, entry) in [undo["of"] for undo in self.undos]
        return run in self.runs and bool(self.runs[run]["tasks"][index]["tries"])

    def seen(self) -> Doc:
        """Everything that can be held against the machine."""
        return {
            "status": self.status,
            "error": self.error,
            "handled_failures": self.handled,
            "rollback": self.rollback,
            "vars": self.vars,
            "output": self.output,
            "runs": {
                one: {
                    "status": run["status"],
                    "parents": [] if self.block[run["stage"]] else run["parents"],
                    "gate": run["gate"],
                    "is_handled": run["is_handled"],
                }
                for one, run in self.runs.items()
            },
            "order": list(self.runs),
            "ended": self.ended,
            "open": self.open_tasks(),
            "clock_runs": self.clock_runs,
            "arrived": self.arrived if self.phase == "forward" else {},
            "ignored": self.ignored,
            "left": self.left() if self.phase == "over" else [],
        }

    def open_tasks(self) -> Doc:
        """By id and number of the attempt; whether it is claimed, or waits for the next attempt."""
        tasks = {
            f"{one}-{index}": (task, asks(self.stages[run["stage"]]))
            for one, run in self.runs.items()
            for index, task in enumerate(run["tasks"])
        }
        tasks |= {"{}-{}-undo-{}".format(*undo["of"]): (undo, True) for undo in self.undos}
        return {
            f"{name}/{len(task['tries'])}": {
                "state": task["tries"][-1]["state"],
                "asks": asks,
                "role": task["role"],
                "input": task["tries"][-1]["input"],
            }
            for name, (task, asks) in tasks.items()
            if in_flight([task])
        }

    def active(self) -> list[Doc]:
        return [run for run in self.runs.values() if not run["is_over"]]

    @property
    def clock_runs(self) -> bool:
        """The time of the workflow stands still while only people are waited for."""
        has_limit = bool(self.engine.get("workflow_timeout", 3600))
        return has_limit and self.phase == "forward" and self.status == "running"

    @property
    def handled(self) -> int:
        return sum(run["is_handled"] for run in self.runs.values())

    @property
    def status(self) -> str:
        if self.phase == "forward" or (self.phase == "last" and self.outcome == "completed"):
            waits = any(run["gate"] == "waiting" for run in self.active())
            return "waiting" if waits and not self.in_flight() else "running"
        if self.phase == "over":
            return self.outcome
        if self.phase == "held":
            return "needs_operator"
        return "pending" if self.phase == "new" else "compensating"


def key(name: str, pass_: int) -> str:
    return f"{name}-{pass_}"


def key_of(run: Doc) -> str:
    return key(run["stage"], run["pass"])


def in_flight(tasks: list[Doc]) -> int:
    return sum(bool(task["tries"]) and task["tries"][-1]["state"] in OPEN for task in tasks)


def is_undone(stage: Doc) -> bool:
    return "compensation_agents" in stage or "compensation" in stage


def is_final(stage: Doc) -> bool:
    return bool(stage.get("classification") == "final")


def asks(stage: Doc) -> bool:
    """Its tasks ask before they run."""
    return is_undone(stage) or is_final(stage)


def failed_status(error: str) -> str:
    if error in TIMEOUTS:
        return "timed_out"
    return "denied" if error == "denied" else "failed"


def error_value(error: str | None) -> Doc | None:
    return None if error is None else {"type": error, "message": f"{error}!"}
