"""The script ``sagabus`` where only the agent SDK is installed, and its agent commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sagabus_agents import command

ROOT = Path(__file__).parents[3]


def sagabus(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it beside a distribution whose orchestrator lacks one of its libraries."""
    metadata = cwd / "sagabus-9.9.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sagabus\nVersion: 9.9\n")
    (metadata / "entry_points.txt").write_text("[sagabus.cli]\nmain = full_cli:main\n")
    (cwd / "full_cli.py").write_text("import library_of_the_extra\n")
    return subprocess.run(
        [sys.executable, "-m", "sagabus_agents.command", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": f"{cwd}{os.pathsep}{ROOT / 'agents'}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_small_install_lists_the_agent_commands(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = sagabus(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "sagabus agent run" in done.stdout
    assert "sagabus agent exec" in done.stdout
    assert "pip install 'sagabus[orchestrator]'" in done.stdout


def test_small_install_says_in_one_line_what_a_command_needs(tmp_path: Path) -> None:
    done = sagabus(tmp_path, "start", "deploy_pipeline")
    assert done.returncode == 2
    assert done.stderr == (
        "sagabus: 'start' needs the orchestrator (library_of_the_extra is not installed): "
        "pip install 'sagabus[orchestrator]'\n"
    )


def test_version_is_told_by_every_install(tmp_path: Path) -> None:
    assert sagabus(tmp_path, "--version").stdout == "sagabus 9.9\n"


def test_orchestrators_command_line_gets_everything_else(tmp_path: Path) -> None:
    sagabus(tmp_path)
    (tmp_path / "sys_argv.py").write_text("")
    metadata = tmp_path / "sagabus-9.9.dist-info"
    (metadata / "entry_points.txt").write_text("[sagabus.cli]\nmain = present_cli:main\n")
    (tmp_path / "present_cli.py").write_text(
        "import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "sagabus_agents.command", "start", "x"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'agents'}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "['start', 'x']\n")


def test_the_help_of_exec_says_that_no_shell_is_used(tmp_path: Path) -> None:
    done = sagabus(tmp_path, "agent", "exec", "--help")
    assert done.returncode == 0
    assert "run without one" in done.stdout


def test_the_agent_of_a_saga_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "steps_of_mine.py").write_text(
        """
from sagabus_agents import Step, saga

class Prepare(Step):
    async def execute(self, state): ...

provision = saga("provision", [Prepare()], role="cloud")
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    served = []
    monkeypatch.setattr(command.Agent, "run", lambda agent: served.append(agent))
    assert command.agent_command(["run", "steps_of_mine:provision.agent"]) == 0
    assert served == [sys.modules["steps_of_mine"].provision.agent]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("agent",), "required"),
        (("agent", "exec", "devops"), "--on ACTION=COMMAND"),
        (("agent", "exec", "devops", "--on", "provision"), "is not ACTION=COMMAND"),
        (("agent", "exec", "a.b", "--on", "provision=true"), "'a.b' is not a role"),
        (("agent", "exec", "devops", "--on", "x=sh 'y"), "x: No closing quotation"),
        (("agent", "exec", "devops", "--on", "x=true", "--on", "x=false"), "given twice"),
        (("agent", "run", "no_such_module"), "cannot import no_such_module"),
        (("agent", "run", "json:agent"), "json has no Agent named 'agent'"),
        (("agent", "run", "json:dumps.agent"), "json has no Agent named 'dumps.agent'"),
    ],
)
def test_mistake_on_the_command_line_is_one_line_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = sagabus(tmp_path, *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
