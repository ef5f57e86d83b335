"""What results and undoing mean for resources."""

from sagabus.core.definition import RetryPolicy
from sagabus.core.events import ResultSet
from sagabus.core.instance import Resource
from tests.unit.core.scene import Scene, sequence, stage

VM = Resource("vm", "vm-1", {"size": "s"})
DNS = Resource("dns", "a.example", {"to": "vm-1"})
UNDO = ("devops",)


def scene(*undo: str, width: int = 1, **settings: object) -> Scene:
    """``make`` is undone by ``undo``, then ``check``."""
    made = stage("make", *["devops"] * width, undo=undo or UNDO, **settings)
    return Scene(sequence(made, stage("check"))).start()


def succeed(scene: Scene, task: str, *resources: Resource) -> None:
    if scene.attempt(task).claim:
        assert scene.claim(task) == "run"
    assert scene.result(task, resources=resources) is None


def told(scene: Scene) -> list[tuple[str, str, bool]]:
    return [
        (each.task, f"{'' if each.spec else '-'}{each.id}", each.is_undo)
        for each in scene.resources
    ]


def test_what_a_result_declares_is_kept_with_its_attempt() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM, DNS)
    assert flow.attempt("make-1-0").resources == [VM, DNS]
    [vm, dns] = flow.resources
    assert (vm.kind, vm.id, vm.spec) == ("vm", "vm-1", {"size": "s"})
    assert (vm.instance, vm.workflow, vm.stage) == (flow.row.id, flow.row.workflow, "make")
    assert (vm.task, vm.attempt, vm.role, vm.at) == ("make-1-0", 1, "devops", flow.at)
    assert (dns.id, dns.is_undo) == ("a.example", False)


def test_the_same_result_again_declares_nothing() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM)
    assert flow.result("make-1-0", resources=[DNS]) == "duplicate_result"
    assert told(flow) == [("make-1-0", "vm-1", False)]


def test_results_without_resources_say_nothing_of_any() -> None:
    flow = scene()
    flow.succeed("make-1-0").fail("check-1-0").succeed("make-1-0-undo-0")
    assert flow.status == "rolled_back"
    assert flow.resources == []


def test_what_was_undone_is_gone() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM, DNS)
    flow.fail("check-1-0").succeed("make-1-0-undo-0")
    assert told(flow)[2:] == [
        ("make-1-0-undo-0", "-a.example", True),
        ("make-1-0-undo-0", "-vm-1", True),
    ]


def test_an_undo_that_fails_leaves_everything_there() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM)
    flow.fail("check-1-0").fail("make-1-0-undo-0")
    assert told(flow) == [("make-1-0", "vm-1", False)]


def test_what_several_roles_undo_is_gone_when_all_have() -> None:
    flow = scene("devops", "network")
    succeed(flow, "make-1-0", VM)
    flow.fail("check-1-0").succeed("make-1-0-undo-1")
    assert len(flow.resources) == 1
    flow.succeed("make-1-0-undo-0")
    assert told(flow)[1:] == [("make-1-0-undo-0", "-vm-1", True)]


def test_what_one_of_several_roles_could_not_undo_is_there() -> None:
    flow = scene("devops", "network")
    succeed(flow, "make-1-0", VM)
    flow.fail("check-1-0").fail("make-1-0-undo-1").succeed("make-1-0-undo-0")
    assert told(flow) == [("make-1-0", "vm-1", False)]


def test_an_undo_may_put_back_what_was_before() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM, DNS)
    flow.fail("check-1-0")
    succeed(flow, "make-1-0-undo-0", Resource("vm", "vm-1", {"size": "xs"}))
    assert told(flow)[2:] == [
        ("make-1-0-undo-0", "vm-1", False),
        ("make-1-0-undo-0", "-a.example", True),
    ]


def test_what_a_failed_attempt_left_is_there_and_is_undone() -> None:
    flow = scene()
    flow.fail("make-1-0", resources=[VM])
    assert flow.attempt("make-1-0").acted
    assert flow.sent[-1] == "make-1-0-undo-0/1"
    flow.succeed("make-1-0-undo-0")
    assert told(flow) == [("make-1-0", "vm-1", False), ("make-1-0-undo-0", "-vm-1", True)]


def test_a_retry_declares_for_itself_and_the_undo_is_of_all_attempts() -> None:
    flow = scene(retry=RetryPolicy(count=1))
    flow.fail("make-1-0", resources=[VM])
    flow.wait(60)
    assert flow.attempt("make-1-0", 2).resources == []
    succeed(flow, "make-1-0", DNS)
    flow.fail("check-1-0").succeed("make-1-0-undo-0")
    assert [each[1] for each in told(flow)] == ["vm-1", "a.example", "-a.example", "-vm-1"]


def test_a_late_success_adds_to_what_was_told_before() -> None:
    flow = scene()
    flow.claim("make-1-0")
    flow.result("make-1-0", status="failed", error_type="timeout", resources=[VM])
    assert flow.result("make-1-0", resources=[DNS]) is None
    assert flow.attempt("make-1-0").resources == [VM, DNS]
    # The undo under way may have run before the effect did: another one follows, and counts.
    flow.succeed("make-1-0-undo-0")
    assert [each[1] for each in told(flow)] == ["vm-1", "a.example"]
    flow.succeed("make-1-0-undo-1")
    assert [each[1] for each in told(flow)][2:] == ["-a.example", "-vm-1"]


def test_what_a_task_removed_does_not_go_once_more_with_its_undo() -> None:
    flow = scene()
    succeed(flow, "make-1-0", Resource("vm", "old", None))
    flow.fail("check-1-0").succeed("make-1-0-undo-0")
    assert told(flow) == [("make-1-0", "-old", False)]


def test_each_task_of_a_stage_takes_its_own_with_it() -> None:
    flow = scene(width=2, max_parallel=0)
    succeed(flow, "make-1-0", VM)
    succeed(flow, "make-1-1", DNS)
    flow.fail("check-1-0").succeed("make-1-1-undo-0")
    assert told(flow)[2:] == [("make-1-1-undo-0", "-a.example", True)]


def test_what_a_person_says_was_undone_is_gone() -> None:
    flow = scene()
    succeed(flow, "make-1-0", VM)
    flow.fail("check-1-0").fail("make-1-0-undo-0")
    assert flow.ask(ResultSet, "make", None).ok
    assert flow.row.rollback == "full"
    assert told(flow)[1:] == [("make-1-0-undo-0", "-vm-1", True)]
