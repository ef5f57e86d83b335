"""For tests by table: an instance and those below it that carry out its stages."""

from dataclasses import replace

from sagabus.core.commands import CommandChild, StartChild, TellParent, UndoChild
from sagabus.core.definition import Compensation, Definition, Stage
from sagabus.core.events import (
    CancelRequested,
    EndAsked,
    PauseRequested,
    ResultReceived,
    ResumeRequested,
    StartRequested,
    UndoRequested,
)
from sagabus.core.instance import Instance, InstanceState, InstanceStatus, child_id
from tests.unit.core.scene import NEVER, Says, Scene


def child_stage(name="sub", **settings) -> Stage:
    """A stage that the workflow ``below`` carries out."""
    settings.setdefault("input", Says(lambda scope: {"of": scope.get("item", 0)}))
    return Stage(
        name,
        ("_workflow",),
        "below",
        kind="workflow",
        workflow="below",
        workflow_digest="child",
        classification="compensatable",
        compensation=Compensation(("_workflow",), "below", retry=NEVER),
        **settings,
    )


class Family:
    """An instance and those below it; what one says reaches the other at once, in order."""

    def __init__(self, top: Definition, below: Definition) -> None:
        self.scene = Scene(top)
        self.below = replace(below, name="below", digest="child")
        self.children: dict[str, Scene] = {}
        self.scene.start()
        self.deliver()

    def child(self, task="sub-1-0", attempt=1) -> Scene:
        return self.children[child_id(self.scene.row.id, task, attempt)]

    def deliver(self) -> "Family":
        while self._deliver_once():
            pass
        return self

    def _deliver_once(self) -> bool:
        for scene in (self.scene, *self.children.values()):
            while scene.said:
                self._carry_out(scene, scene.said.pop(0))
                return True
        return False

    def _carry_out(self, scene: Scene, command) -> None:
        match command:
            case StartChild():
                if command.child in self.children:
                    self.children[command.child].decide(
                        EndAsked(scene.at, command.parent, command.is_paused)
                    )
                    return
                self.children[command.child] = made = Scene(self.below)
                made.at = scene.at
                made.state = InstanceState(
                    Instance(
                        command.child,
                        "below",
                        "child",
                        InstanceStatus.PENDING,
                        scene.at,
                        scene.at,
                        parameters=command.parameters,
                        parent=command.parent,
                        root=command.root,
                        trace=command.trace,
                    )
                )
                made.decide(StartRequested(scene.at, "start", command.is_paused))
            case UndoChild():
                self.children[command.child].decide(
                    UndoRequested(
                        scene.at, "undo", command.parent, command.is_paused, command.is_asked
                    )
                )
            case CommandChild(child, "cancel"):
                cancel = CancelRequested(
                    scene.at, command.command, command.by, is_undone=command.is_undone
                )
                self.children[child].decide(cancel)
            case CommandChild(child, name):
                event = PauseRequested if name == "pause" else ResumeRequested
                self.children[child].decide(event(scene.at, command.command))
            case TellParent():
                error = command.error
                self.scene.decide(
                    ResultReceived(
                        at=scene.at,
                        source="_workflow",
                        task=command.parent.task,
                        attempt=command.parent.attempt,
                        status=command.status,
                        agent=scene.row.id,
                        output=command.output,
                        error_type=error.type if error else "",
                        error_message=error.message if error else "",
                        has_left_effects=command.has_left_effects,
                        left=command.left,
                        seq=command.seq,
                    )
                )
