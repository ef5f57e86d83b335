"""What every tier of the tests shares: nothing that a test started may outlive the run."""

import os
import uuid
from collections.abc import Iterator

import psutil
import pytest

#: Inherited by every process below this one, so that orphans of a killed parent are found as well.
RUN_MARK = "SAGABUS_TEST_RUN"
#: Time for servers that were told to stop last of all.
GRACE_S = 5.0


def _left_running(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the run, and clean up, when a process started by a test is still there at its end."""
    mark = uuid.uuid4().hex
    os.environ[RUN_MARK] = mark
    yield
    del os.environ[RUN_MARK]
    _, alive = psutil.wait_procs(_left_running(mark), timeout=GRACE_S)
    commands = []
    for process in alive:
        try:
            commands.append(f"{process.pid}: {' '.join(process.cmdline())}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    assert not commands, "left running by the tests:\n" + "\n".join(commands)
