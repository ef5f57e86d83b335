"""The data directory: one owner, and where it is announced."""

import json
import os
import signal
import subprocess
import sys

import pytest

from sagabus.cli.data_dir import (
    Endpoints,
    announced,
    find_endpoints,
    is_locked,
    locked,
    read_endpoints,
)
from sagabus.errors import SettingsError

HERE = Endpoints("nats://127.0.0.1:1", "http://127.0.0.1:2", os.getpid(), "1")


def test_second_owner_is_refused_and_told_who_the_first_is(tmp_path):
    with locked(tmp_path / "data"):
        assert is_locked(tmp_path / "data")
        with (
            pytest.raises(SettingsError, match=f"is in use by process {os.getpid()}"),
            locked(tmp_path / "data"),
        ):
            pass
    assert not is_locked(tmp_path / "data")
    with locked(tmp_path / "data"):
        pass


def test_lock_of_a_killed_owner_is_free(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from sagabus.cli.data_dir import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner:
        assert owner.stdout.readline() == "locked\n"
        assert is_locked(tmp_path)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with locked(tmp_path):
        pass


def test_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match="cannot use the data directory"),
        locked(tmp_path / "file" / "data"),
    ):
        pass


def test_endpoints_are_there_for_as_long_as_it_is_ready(tmp_path):
    with announced(tmp_path, HERE):
        assert read_endpoints(tmp_path) == HERE
        assert (tmp_path / "endpoints.json").stat().st_mode & 0o077 == 0
        assert set(json.loads((tmp_path / "endpoints.json").read_text())) == {
            "nats",
            "http",
            "pid",
            "version",
        }
    assert read_endpoints(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_nearest_data_directory_is_found_from_below(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".sagabus").mkdir()
    with announced(tmp_path / ".sagabus", HERE):
        assert find_endpoints(below, {}) == HERE
        assert find_endpoints(below, {"SAGABUS_DATA": str(below)}) is None
    assert find_endpoints(below, {}) is None


def test_broken_endpoints_file_counts_as_none(tmp_path):
    (tmp_path / "endpoints.json").write_text("{")
    assert read_endpoints(tmp_path) is None
