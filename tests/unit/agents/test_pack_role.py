"""The agent of a pack: what its functions are given, and every way in which a pack can be wrong."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from sagabus_agents import Agent
from sagabus_agents.roles.pack import PackError, pack_agent
from sagabus_agents.testing import run_task
from sagabus_agents.wire import ResultMessage, ResultStatus


def write(packs: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = packs / "shop" / "actions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def agent_of(tmp_path: Path, program: str, about: str = "") -> Agent:
    """A pack with one action, ``act``."""
    write(tmp_path, {"act.yaml": about, "act.py": program})
    return pack_agent("shop", tmp_path)


async def run(tmp_path: Path, program: str, input: Any = None, **options: Any) -> ResultMessage:
    return await run_task(agent_of(tmp_path, program), "act", input, **options)


async def output_of(tmp_path: Path, program: str, input: Any = None, **options: Any) -> Any:
    result = await run(tmp_path, program, input, **options)
    assert result.status is ResultStatus.SUCCEEDED, result.error
    return result.output


async def complaint(tmp_path: Path, program: str, input: Any, **options: Any) -> str:
    result = await run(tmp_path, program, input, **options)
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("bad_input", False)
    return result.error.message


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def run(a, b=2): return [a, b]", [1, 2]),
        ("async def run(*, a): return a", 1),
        ("def run(**given): return given", {"a": 1}),
        ("def run(task): return task.input", {"a": 1}),
        ("def run(task, a): return [task.action, a]", ["act", 1]),
        ("def run(task, **given): return given", {"a": 1}),
        ("from sagabus_agents import Task\ndef run(t: Task): return t.input", {"a": 1}),
        (
            "from __future__ import annotations\nfrom sagabus_agents import Task\n"
            "def run(t: Task, a): return [t.input, a]",
            [{"a": 1}, 1],
        ),
    ],
)
async def test_function_gets_what_it_names(tmp_path: Path, program: str, expected: Any) -> None:
    assert await output_of(tmp_path, program, {"a": 1}) == expected


async def test_what_the_engine_adds_is_there_for_those_who_name_it(tmp_path: Path) -> None:
    input = {"a": 1, "previous": {"x": 2}, "item": 3, "index": 0}
    assert await output_of(tmp_path, "def run(a): return a", input) == 1
    program = "def run(a, item, previous): return [item, previous]"
    assert await output_of(tmp_path, program, input) == [3, {"x": 2}]


@pytest.mark.parametrize(
    ("program", "input", "words"),
    [
        ("def run(a, b): ...", {"c": 1, "a": 1}, "the input has no b"),
        ("def run(a): ...", {"a": 1, "aa": 1}, "does not take aa; it takes a"),
        ("def run(): ...", {"a": 1}, None),
        ("def run(a): ...", [1], "a table of parameters is needed, not [1]"),
        ("def run(a): ...", None, "the input has no a"),
    ],
)
async def test_input_that_does_not_fit_is_refused(
    tmp_path: Path, program: str, input: Any, words: str | None
) -> None:
    if words is None:
        assert await output_of(tmp_path, program, input) is None
    else:
        assert words in await complaint(tmp_path, program, input)


async def test_failures_are_those_of_any_handler(tmp_path: Path) -> None:
    program = """
        from sagabus_agents import PermanentError
        def run(task):
            task.artifact("half")
            raise PermanentError("sold out", type="sold_out")
    """
    result = await run(tmp_path, program)
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("sold_out", "sold out")
    assert result.artifacts == ["half"]


@pytest.mark.parametrize("name", ["undo", "compensate"])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("id", 7),
        ("task", {"id": 7, "size": 2}),
        ("output", {"made": 1}),
        ("artifacts", ["thing"]),
        ("**id", {"id": 7, "size": 2}),
    ],
)
async def test_undo_gets_the_input_and_the_result_of_what_it_undoes(
    tmp_path: Path, name: str, parameters: str, expected: Any
) -> None:
    word = parameters.lstrip("*")
    told = "task.original_context['input']" if word == "task" else word
    program = f"def run(**given): ...\nasync def {name}({parameters}): return {told}"
    context = {"parameters": {}, "vars": {}, "input": {"id": 7, "size": 2}, "output": {"made": 1}}
    found = await output_of(
        tmp_path,
        program,
        compensation=True,
        original_context=context,
        artifacts_to_undo=["thing"],
    )
    assert found == expected


async def test_undo_with_an_input_of_its_own_gets_that(tmp_path: Path) -> None:
    program = "def run(**given): ...\ndef undo(id): return id"
    context = {"input": {"id": 7}}
    found = await output_of(
        tmp_path, program, {"id": 8}, compensation=True, original_context=context
    )
    assert found == 8


async def test_without_undo_there_is_nothing_to_undo_with(tmp_path: Path) -> None:
    result = await run(tmp_path, "def run(): ...", compensation=True)
    assert result.error is not None
    assert result.error.type == "no_handler"


async def test_roles_and_files_come_from_the_action_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "make.yaml": "description: Make it\nentry_point: making.py\n",
            "making.py": "import shared_of_shop\ndef run(): return shared_of_shop.NAME\n",
            "shared_of_shop.py": "NAME = 'made'\n",
            "ship.yml": "role: carrier\nparameters: {}\n",
            "ship.py": "def run(): ...\n",
            "script.yaml": "entry_point: script.sh\n",
            "script.sh": "true\n",
            "elsewhere.yaml": "role: docker\n",
        },
    )
    agent = pack_agent("shop", tmp_path)
    assert agent.roles == ("shop", "carrier")
    assert (await run_task(agent, "make")).output == "made"
    assert (await run_task(agent, "script")).error is not None


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.yaml": "- 1", "a.py": ""}, "a.yaml: write a table"),
        ({"a.yaml": "role: [", "a.py": ""}, "a.yaml: no YAML: "),
        ({"a.yaml": "role: a b", "a.py": ""}, "a.yaml: role 'a b'"),
        ({"a.yaml": "role: 1", "a.py": ""}, "a.yaml: `role`: 1 does not fit"),
        ({"a.yaml": "entry_point: b.py"}, "a.yaml: there is no file"),
        ({"a.yaml": "entry_point: ../b.py"}, "is outside of the pack's actions"),
        ({"a.yaml": "entry_point: /b.py"}, "is outside of the pack's actions"),
        ({"a.yaml": "", "a.py": "def run(:\n"}, "a.py:1: SyntaxError: "),
        ({"a.yaml": "", "a.py": "\nimport nothing_of_ours\n"}, "a.py:2: ModuleNotFoundError: "),
        ({"a.yaml": "", "a.py": "\n\nraise SystemExit(3)"}, "a.py:3: SystemExit: 3"),
        ({"a.yaml": "", "a.py": "RUN = 1"}, "a.py: has no function run"),
        ({"a.yaml": "", "a.py": "def run(*a): ..."}, "a.py: run: 'a' cannot be given by its name"),
        ({"a.yaml": ""}, "none of its actions has a Python file"),
    ],
)
def test_every_wrong_file_is_named(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    write(tmp_path, files)
    with pytest.raises(PackError) as found:
        pack_agent("shop", tmp_path)
    [line] = str(found.value).splitlines()
    assert problem in line
    assert str(tmp_path / "shop") in line


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "- 1", "b.yaml": "", "b.py": "def run(:"})
    with pytest.raises(PackError) as found:
        pack_agent("shop", tmp_path)
    assert len(str(found.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["../shop", "other", "_shop"])
def test_pack_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"a.yaml": "", "a.py": "def run(): ..."})
    with pytest.raises(PackError, match="pack"):
        pack_agent(name, tmp_path)


def test_command_line_tells_every_problem_on_a_line_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "packs", {"a.yaml": "- 1", "b.yaml": "", "b.py": "def run(:"})
    done = agent_command(tmp_path, "pack", "shop")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["sagabus", "sagabus"]
    assert "Traceback" not in done.stderr


def test_without_pyyaml_it_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    done = agent_command(tmp_path, "pack", "shop", prelude="sys.modules['yaml'] = None")
    assert done.returncode == 2
    assert done.stderr == "sagabus: agent pack: it needs pyyaml: pip install 'sagabus[packs]'\n"


def agent_command(
    cwd: Path, *arguments: str, prelude: str = ""
) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys\n{prelude}\n"
        "from sagabus_agents.command import agent_command\n"
        f"sys.exit(agent_command({list(arguments)!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=30
    )
