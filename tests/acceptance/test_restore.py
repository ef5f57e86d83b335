"""A database is put back from a backup: refused, and gone on from when an operator says so."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.nats_server import NatsServer
from tests.support.processes import (
    Orchestrator,
    Program,
    all_of,
    until,
)
from tests.support.scripted_agent import read_lines

WORKFLOWS = """
[[workflows]]
name = "build"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "test"
agents = ["tester"]

[[workflows]]
name = "order"
[[workflows.stages]]
name = "make"
agents = ["devops"]
compensation_agents = ["devops"]
[[workflows.stages]]
name = "charge"
agents = ["tester"]
classification = "final"
"""
SLOW_S = 1.5


@contextmanager
def agents(directory: Path, nats_url: str) -> Iterator[Path]:
    """One agent per role; gives the log of what they did."""
    log = directory / "effects.log"
    programs = [
        Program(
            role,
            [sys.executable, "-m", "tests.support.effect_agent", role, "--log", log],
            directory,
            env={"SAGABUS_NATS_URL": nats_url},
        )
        for role in ("devops", "tester")
    ]
    with all_of(programs):
        yield log


def runs(log: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every begun run, by instance and stage."""
    found = defaultdict(list)
    for line in read_lines(log):
        if line["phase"] == "start":
            found[line["instance"], line["stage"]].append(line)
    return found


def statuses_settle(orchestrator: Orchestrator, wanted: dict[str, str]) -> None:
    def look() -> bool:
        return {id: orchestrator.instance(id)["status"] for id in wanted} == wanted

    until(look, f"the instances are {wanted}")


def stop(orchestrator: Orchestrator) -> None:
    orchestrator.terminate()
    assert orchestrator.ended() == 0


def refusal(orchestrator: Orchestrator) -> str:
    """The last line that an orchestrator wrote which does not start."""
    orchestrator.start()
    assert orchestrator.ended() == 1
    return orchestrator.log().splitlines()[-1]


@pytest.mark.timeout(120)
def test_database_older_than_the_bus_is_refused_and_gone_on_from_after_restore(
    tmp_path: Path,
) -> None:
    backup = tmp_path / "backup"
    with (
        NatsServer(tmp_path / "nats") as nats,
        Orchestrator(tmp_path, WORKFLOWS, nats_url=nats.url) as orchestrator,
        agents(tmp_path, nats.url) as log,
    ):
        orchestrator.start_instance("order", "refused", {"fail": "charge"})
        statuses_settle(orchestrator, {"refused": "rolled_back"})
        slow = {"slow": "make", "slow_s": SLOW_S}
        orchestrator.start_instance("build", "known", slow)
        orchestrator.start_instance("build", "failing", {**slow, "fail": "test"})
        orchestrator.start_instance("order", "paid", slow)
        begun = {(each, "make") for each in ("known", "failing", "paid")}
        until(lambda: begun <= runs(log).keys(), "all have begun")
        stop(orchestrator)
        shutil.copytree(orchestrator.data, backup)

        orchestrator.start()
        orchestrator.wait_ready()
        orchestrator.start_instance("build", "later", {})
        ends = {"known": "completed", "failing": "rolled_back", "paid": "completed"}
        orchestrator.post("/api/v1/workflow-executions/refused/retry", {"parameters": {"fail": ""}})
        statuses_settle(orchestrator, {**ends, "later": "completed", "refused": "completed"})
        stop(orchestrator)
        before = runs(log)

        shutil.rmtree(orchestrator.data)
        shutil.copytree(backup, orchestrator.data)
        for _ in range(2):  # refusing changes nothing
            line = refusal(orchestrator)
            assert line.startswith(
                f"sagabus: surrealkv://{orchestrator.data}/db, bus nats://127.0.0.1:"
            )
            assert "the database is older than the bus" in line
            assert "--after-restore" in line

        with_flag = Orchestrator(
            tmp_path, WORKFLOWS, nats_url=nats.url, options=["--after-restore"]
        )
        with with_flag:
            ends = {"known": "completed", "failing": "rolled_back", "paid": "needs_operator"}
            statuses_settle(with_flag, ends)
            known = with_flag.instance("known")
            assert known["restored_at"] is not None
            with_flag.start_instance("build", "new", {})
            with_flag.post(
                "/api/v1/workflow-executions/refused/retry", {"parameters": {"fail": ""}}
            )
            statuses_settle(with_flag, {"new": "completed", "refused": "needs_operator"})
            stop(with_flag)
        after = runs(log)
        again = {key: lines[len(before[key]) :] for key, lines in after.items()}
        for (instance, _), lines in again.items():
            assert all(line["resent"] for line in lines) == (instance != "new")
        assert [len(again["known", stage]) for stage in ("make", "test")] == [1, 1]
        assert len(after["paid", "charge"]) == 1
        assert len(after["refused", "charge"]) == 2  # it failed, and was done after the backup

        # The marks were reset: from now on it is a database like any other.
        orchestrator.start()
        orchestrator.wait_ready()
        assert orchestrator.instance("paid")["status"] == "needs_operator"


@pytest.mark.timeout(60)
def test_embedded_database_put_back_beside_its_managed_bus_is_refused(tmp_path: Path) -> None:
    with Orchestrator(tmp_path, WORKFLOWS) as orchestrator:
        stop(orchestrator)
        shutil.copytree(orchestrator.data / "db", tmp_path / "backup")
        orchestrator.start()
        orchestrator.wait_ready()
        orchestrator.start_instance("build", "one", {})
        stop(orchestrator)
        shutil.rmtree(orchestrator.data / "db")
        shutil.copytree(tmp_path / "backup", orchestrator.data / "db")
        line = refusal(orchestrator)
        assert "the database is older than the bus" in line

        # A lost bus has seen nothing: what is stored is all there is.
        shutil.rmtree(orchestrator.data / "nats")
        orchestrator.start()
        orchestrator.wait_ready()
