"""Final stages: what may stand behind them, what they may not say, and what they compile to."""

from pathlib import Path

import pytest

from sagabus.core.definition import Definition
from sagabus.definitions.catalog import Catalog, validate

HEAD = '[[workflows]]\nname = "flow"\n'
CHILD = '[[workflows]]\nname = "child"\n'


def stage(name: str, *lines: str) -> str:
    """A stage of one agent, or what ``lines`` say."""
    is_other = any(line.startswith(("action", "type")) for line in lines)
    own = lines if is_other else ('agents = ["x"]', *lines)
    return "\n".join(["[[workflows.stages]]", f'name = "{name}"', *own, ""])


def final(name: str, *lines: str) -> str:
    return stage(name, 'classification = "final"', *lines)


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "w.toml"
    path.write_text(text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in validate([path]).problems]


def load(tmp_path: Path, text: str) -> dict[str, Definition]:
    path = tmp_path / "w.toml"
    path.write_text(text)
    return dict(Catalog.load(path).definitions)


def refused(tmp_path: Path, text: str) -> list[str]:
    """Stages that are said to stand behind a final one."""
    found = problems_of(tmp_path, text)
    assert all("when nothing is to be undone any more" in each for each in found), found
    return [each.split('stage "')[1].split('"')[0] for each in found]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (stage("a") + final("f") + final("g"), []),
        (final("f") + stage("a"), ["a"]),
        (final("f") + final("g") + stage("a") + stage("b"), ["a", "b"]),
        (stage("a", 'on_success = ["f", "b"]') + final("f", 'on_success = "end"') + stage("b"), []),
        (final("f", 'on_failure = "c"') + stage("c"), []),
        (final("f", 'on_complete = "c"') + stage("c"), ["c"]),
        (final("f") + final("g", 'on_failure = "c"') + stage("c"), ["c"]),
        (final("f", 'decision = [{default = "c"}]') + stage("c"), ["c"]),
        (final("f", 'on_success = "end"') + stage("c", 'needs = ["f"]'), ["c"]),
        (stage("a") + final("f", "on_success = [{when = '{{ 1 == 2 }}', do = 'a'}]"), ["a"]),
        (final("f", 'on_success = "end"', 'on_timeout = "c"') + stage("c", 'on_success = "f"'), []),
        (final("f") + stage("n", 'action = "core.noop"'), ["n"]),
        (final("f") + stage("q", 'action = "core.inquiry"'), ["q"]),
    ],
)
def test_what_follows_a_final_stage_on_any_path_is_final(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    assert refused(tmp_path, HEAD + text) == names


def test_the_stage_that_runs_at_the_end_may_be_anything(tmp_path: Path) -> None:
    text = '[[workflows]]\nname = "flow"\non_end = "e"\n' + final("f") + stage("e")
    assert problems_of(tmp_path, text) == []


BLOCK = (
    '[[workflows.stages]]\nname = "b"\ntype = "parallel"\n'
    '[[workflows.stages.stages]]\nname = "b1"\nagents = ["x"]\nclassification = "final"\n'
    '[[workflows.stages.stages]]\nname = "b2"\nagents = ["x"]\n'
)


def test_stages_of_a_block_run_beside_each_other_and_what_follows_the_block_is_final(
    tmp_path: Path,
) -> None:
    assert refused(tmp_path, HEAD + BLOCK) == []
    assert refused(tmp_path, HEAD + BLOCK + stage("c")) == ["c"]
    assert refused(tmp_path, HEAD + final("f") + BLOCK) == ["b2"]


def test_a_sub_workflow_counts_as_what_it_consists_of(tmp_path: Path) -> None:
    calls = stage("s", 'action = "child"')
    finals = CHILD + final("x")
    mixed = CHILD + stage("w") + final("x")
    assert refused(tmp_path, HEAD + calls + stage("c") + finals) == ["c"]
    assert refused(tmp_path, HEAD + final("f") + calls + finals) == []
    (problem,) = problems_of(tmp_path, HEAD + final("f") + calls + mixed)
    assert '"w" of sub-workflow "child" can run after the final stage "f"' in problem


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (('classification = "final"', 'compensation_agents = ["y"]'), "cannot be undone"),
        (('classification = "final"', 'compensation = {action = "u"}'), "cannot be undone"),
        (("idempotent = true",), "is for final stages alone"),
        (('classification = "read_only"', "idempotent = false"), "is for final stages alone"),
        (
            ('classification = "final"', 'action = "core.noop"'),
            "the engine itself carries this stage out: nothing of it is final",
        ),
        (('classification = "final"', 'action = "core.inquiry"'), "leave it out"),
        (('action = "child"', "idempotent = true"), "undone, by its own stages; leave it out"),
    ],
)
def test_what_a_final_stage_cannot_say_is_refused(
    tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    problems = problems_of(tmp_path, HEAD + stage("a", *lines) + CHILD + stage("x"))
    assert any(said in problem for problem in problems), problems


def test_the_stage_that_runs_at_the_end_is_not_final(tmp_path: Path) -> None:
    text = '[[workflows]]\nname = "flow"\non_end = "e"\n' + stage("a") + final("e")
    (problem,) = problems_of(tmp_path, text)
    assert "the stage of on_end runs whatever the end: nothing of it is final" in problem


def test_final_stages_are_compiled(tmp_path: Path) -> None:
    text = (
        '[[workflows]]\nname = "flow"\nsaga = {after_final = "compensate"}\n'
        + final("f")
        + final("g", "idempotent = true")
    )
    flow = load(tmp_path, text)["flow"]
    assert (flow.saga_after_final, flow.has_finals) == ("compensate", True)
    assert [each.is_once for each in flow.stages.values()] == [True, False]
    assert all(each.is_claimed for each in flow.stages.values())
    plain = load(tmp_path, HEAD + stage("a"))["flow"]
    assert (plain.saga_after_final, plain.has_finals) == ("hold", False)


@pytest.mark.parametrize(
    ("child", "kind"),
    [
        (stage("w", 'compensation_agents = ["y"]') + final("x"), "final"),
        (stage("w", 'compensation_agents = ["y"]') + stage("x"), "compensatable"),
        (stage("w", 'classification = "read_only"'), "read_only"),
        (stage("w"), "unclassified"),
    ],
)
def test_the_class_of_a_sub_workflow_is_that_of_its_workflow(
    tmp_path: Path, child: str, kind: str
) -> None:
    flow = load(tmp_path, HEAD + stage("s", 'action = "child"') + CHILD + child)["flow"]
    called = flow.stages["s"]
    assert called.classification == kind
    assert (called.compensation is not None) == (kind in {"compensatable", "final"})
    assert not called.is_once
