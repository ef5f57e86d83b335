"""From the snapshot that is stored to what the machine reads.

The definition comes from the document alone, whether it was made just now or years ago.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sagabus.core.definition import Definition, Stage
from sagabus.definitions.compile_stage import compile_stage, limit
from sagabus.definitions.flow import Flow
from sagabus.definitions.json_schema import Schema
from sagabus.definitions.kv_reads import kv_keys_of
from sagabus.definitions.models import EngineModel, WorkflowModel
from sagabus.definitions.parameters import Parameters
from sagabus.definitions.snapshot import Links, Snapshot, digest_of, document_of, read_snapshot
from sagabus.definitions.template_names import texts_of
from sagabus.definitions.templates import compile_value

__all__ = ["compile_snapshot", "compile_workflow", "digest_of", "document_of"]

#: Keys of a workflow that are data, whatever they look like.
_PLAIN: Final = frozenset({"parameters", "output", "label", "description", "tags", "labels"})


def compile_workflow(workflow: WorkflowModel, engine: EngineModel, links: Links) -> Definition:
    """Compile a workflow that lint found no fault with."""
    return compile_snapshot(document_of(workflow, engine, links))


def compile_snapshot(document: Mapping[str, Any]) -> Definition:
    """The definition that ``document`` holds.

    Raises:
        ConfigError: it is not a snapshot that this version can read.
        TemplateError: a template in it does not compile.
    """
    snapshot = read_snapshot(document)
    workflow, engine = snapshot.workflow, snapshot.engine
    flow = Flow.of(workflow)
    keys, reads_kv = kv_keys_of(_texts(document))
    return Definition(
        name=workflow.name,
        digest=digest_of(document),
        stages=_stages(snapshot, flow),
        entry=flow.entry,
        version=workflow.version,
        label=workflow.label,
        description=workflow.description,
        trigger=workflow.trigger,
        enabled=workflow.enabled,
        tags=tuple(workflow.tags),
        labels=workflow.labels,
        order=workflow.order,
        workflow_timeout=limit(workflow.workflow_timeout),
        max_parallel_tasks=engine.max_parallel_tasks,
        max_payload_bytes=engine.max_payload_bytes,
        max_items=engine.max_items,
        max_passes=engine.max_passes,
        has_policies=engine.has_policies,
        saga_on_failure=workflow.saga.on_failure,
        saga_on_failed_undo=workflow.saga.on_failed_undo,
        saga_after_final=workflow.saga.after_final,
        parameters=None if workflow.parameters is None else Parameters(workflow.parameters),
        vars=None if workflow.vars is None else compile_value(workflow.vars, "vars"),
        output_map={
            name: compile_value(value, f"output_map.{name}")
            for name, value in (workflow.output_map or {}).items()
        },
        output_schema=None if workflow.output is None else Schema(workflow.output),
        on_end=workflow.on_end,
        pack_config=snapshot.pack_config,
        kv_keys=keys,
        reads_kv=reads_kv,
        reach=flow.reach,
        workflows={
            link.workflow: link.digest
            for link in snapshot.links.values()
            if link.workflow is not None and link.digest is not None
        },
        document=document,
    )


def _stages(snapshot: Snapshot, flow: Flow) -> dict[str, Stage]:
    gates = snapshot.engine.approval_gates_enabled
    found: dict[str, Stage] = {}
    for stage in snapshot.workflow.stages:
        found[stage.name] = compile_stage(
            stage, snapshot.links.get(stage.name), flow, has_gates=gates
        )
        for child in stage.stages or ():
            link = snapshot.links.get(child.name)
            found[child.name] = compile_stage(child, link, flow, has_gates=gates, block=stage.name)
    return found


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    workflow = {key: item for key, item in document["workflow"].items() if key not in _PLAIN}
    return (text for _, text in texts_of(workflow))
