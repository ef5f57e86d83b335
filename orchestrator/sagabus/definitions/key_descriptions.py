"""What each key of a definition means, in a sentence: shown by editors while it is written."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from sagabus.definitions import models

_RETRY: Final = "How often and when a failed attempt is tried again."
_TIMEOUT: Final = 'Limit of one attempt\'s run, from its start: seconds, or text like "15m".'
_ROUTE: Final = "A target, a list of targets, or a list of tables with `when`, `do` and `publish`."

#: By model and key; a key that a model inherits stands at the model it is inherited from.
DESCRIPTIONS: Final[Mapping[type[BaseModel], Mapping[str, str]]] = {
    models.FileModel: {
        "include": "Patterns of files with further [[workflows]], relative to this file.",
        "packs": "Directories of packs, relative to this file.",
        "engine": "Settings of the engine, for every workflow.",
        "workflows": "The workflows; names are unique.",
    },
    models.EngineModel: {
        "max_parallel_tasks": "Tasks in flight per instance; 0 = no limit.",
        "workflow_timeout": "Time limit of an instance; its clock stops while it waits for a person"
        " or is paused, and never applies to compensation; 0 = none.",
        "approval_gates_enabled": "False: approval_required is ignored.",
        "cedar_policy_dir": "Directory of Cedar policies, relative to this file; without it nothing"
        " is checked, and an empty one denies everything.",
        "defaults": "For every stage that sets none.",
        "limits": "Bounds; each error names the limit.",
        "retention": "How long ended instances are kept.",
    },
    models.DefaultsModel: {
        "retry": _RETRY,
        "timeout": _TIMEOUT,
        "start_timeout": "Limit of the wait for an agent to take a task.",
        "compensation": "Retry and time limit of compensations.",
    },
    models.CompensationDefaults: {"retry": _RETRY, "timeout": _TIMEOUT},
    models.LimitsModel: {
        "max_stages": "Stages of one workflow.",
        "max_items": "Elements of the list of a stage with with_items.",
        "max_depth": "Workflows within workflows.",
        "max_passes": "How often a stage may run, in loops.",
        "max_payload_bytes": "Size of an instance's parameters, or of its variables, as JSON; a"
        " larger input or output travels beside the message.",
    },
    models.RetentionModel: {
        "completed": "Ended instances older than this are removed; without it they are kept.",
    },
    models.WorkflowModel: {
        "name": "Unique; letters, digits, underscores, hyphens, and one dot after a pack's name.",
        "version": "Your own; shown with every instance.",
        "label": "A name for people.",
        "description": "What it is for.",
        "tags": "Words to find it by.",
        "enabled": "False: it cannot be started.",
        "trigger": 'What starts it: "manual".',
        "workflow_timeout": "Time limit of an instance, in place of the engine's; 0 = none.",
        "parameters": "What a start must give, by name; without it anything is accepted.",
        "vars": "Variables at the start; a stage sets them with `publish`.",
        "labels": "Names and values of your own.",
        "order": "written: each stage goes on to the next of the main line unless it says"
        " otherwise; graph: stages without inbound edge start together.",
        "saga": "What happens when it fails.",
        "output": "JSON Schema of the output; a mismatch is a warning on the instance.",
        "output_map": "The output: a template per key, rendered at the end whatever the end.",
        "on_end": "A stage off the main line that runs last whatever the end, after any"
        " compensation; its failure changes no status.",
        "stages": "The stages, in order.",
    },
    models.SagaModel: {
        "on_failure": "compensate: undo what was done, newest first; halt: leave it.",
        "after_final": "After a final stage has succeeded, a later failure: hold waits for an"
        " operator, compensate undoes what can be undone.",
        "on_failed_undo": "When a compensation fails: continue with the others, or park and wait"
        " for an operator.",
    },
    models.ChildModel: {
        "name": "Unique in the workflow; a lower-case letter, then letters, digits, underscores.",
        "description": "What it is for.",
        "agents": "Roles; one task per entry, and an entry may repeat.",
        "action": "The handler's name at the agent, by default the stage's; without agents:"
        " role.action, a core.* action, or a workflow's name.",
        "parallel": "False: one entry of agents after another; true: together.",
        "max_parallel": "With parallel: tasks at once; 0 = all.",
        "input": "What the tasks get: templates; by default the parameters, plus `previous`.",
        "publish": "Variables to set after success, before the routes.",
        "when": "Template that gives a boolean; false: the stage is skipped.",
        "with_items": "Template that gives a list: one task per item, with `item` and `index`.",
        "batch_size": "With with_items: an item is a list of up to so many elements.",
        "concurrency": "With with_items: tasks in flight; 0 = all.",
        "fail_fast": "With with_items: stop sending after the first failure.",
        "retry": _RETRY,
        "timeout": _TIMEOUT,
        "start_timeout": "Limit of the wait for an agent to take a task; by default for ever.",
        "approval_required": "A person has to let it start.",
        "approval": "How the approval is asked for.",
        "classification": "read_only: never undone; compensatable: undone when the workflow fails;"
        " final: cannot be undone, and is never done twice.",
        "compensation_agents": "Roles that undo it: one compensation per succeeded task and entry.",
        "compensation": "How it is undone, where that differs from the defaults.",
        "idempotent": "Of a final stage: to do it twice does no harm, so that an attempt whose"
        " outcome is unknown is tried again as any other.",
    },
    models.StageModel: {
        "type": "parallel: a block of stages that run together.",
        "stages": "The stages of a block.",
        "join": 'Starts when so many distinct stages that lead here have fired, or "all".',
        "needs": "Stages that must have succeeded, or been skipped.",
        "on_success": _ROUTE,
        "on_failure": f"{_ROUTE} With one that matches the failure is handled.",
        "on_timeout": f"{_ROUTE} Without it a timeout is a failure like any other.",
        "on_complete": f"{_ROUTE} Fires whatever the end of the stage.",
        "decision": "After success the first line that matches; replaces on_success.",
    },
    models.RouteModel: {
        "when": "Template that gives a boolean; without it the route always fires.",
        "do": "Stages to start, `end` (nothing more here) or `fail`.",
        "publish": "Variables to set before that.",
    },
    models.ChoiceModel: {
        "when": "Template that gives a boolean.",
        "next": "The stage to start, `end` or `fail`.",
        "default": "Where to go when no line above matches.",
    },
    models.RetryModel: {
        "count": "Further attempts, per task.",
        "delay": 'Before the first of them: seconds, or text like "5s".',
        "backoff": "How the delay grows.",
        "max_delay": "It never grows beyond this.",
        "jitter": "Vary each delay by up to a tenth.",
    },
    models.StageRetryModel: {
        "on_error": "Template that gives whether an error is tried again; sees `error`.",
    },
    models.ApprovalModel: {
        "timeout": "How long it waits for all who have to approve; by default for ever.",
        "on_timeout": "What becomes of it then, whoever has approved: reject fails the stage with"
        " approval_timeout; approve lets it start.",
        "prompt": "The question: text, or a template.",
        "approvers": "How many different people have to approve; one rejection rejects.",
        "self_approval": "Whether who started the instance may approve; by default they may.",
        "schema": "JSON Schema of what each approver fills in; templates read it as `approvals`.",
    },
    models.CompensationModel: {
        "action": "The handler's name; by default the stage's action.",
        "input": "What the compensation gets beside what is to be undone.",
        "retry": _RETRY,
        "timeout": _TIMEOUT,
        "compensate_self": "Tasks that did not succeed: undo where one may have acted (unknown),"
        " never, or always.",
    },
}


def description_of(model: type[BaseModel], key: str) -> str | None:
    """What ``key`` of ``model`` means: its field's own description, else that of the table."""
    field = model.model_fields.get(key)
    if field is not None and field.description:
        return field.description
    tables = (DESCRIPTIONS.get(one, {}) for one in model.__mro__)
    return next((table[key] for table in tables if key in table), None)
