"""`sagabus kv` as a process: values, and secrets that never stand on a command line."""

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.unit.cli.conftest import PROGRAM


def piped(url, text, *arguments):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SAGABUS_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "kv", *arguments, "--url", url],
        input=text,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_values_are_set_read_listed_and_deleted(sagabus, remote):
    url = ("--url", remote.url)
    assert sagabus("kv", "set", "app/name", "1.10", *url).stdout == "app/name is set\n"
    assert sagabus("kv", "set", "app/flags", "--json", '{"on": true}', *url).returncode == 0
    assert sagabus("kv", "get", "app/name", *url).stdout == "1.10\n"
    assert sagabus("kv", "get", "app/flags", *url).stdout == '{"on": true}\n'
    document = json.loads(sagabus("kv", "get", "app/name", "--json", *url).stdout)
    assert (document["value"], document["is_secret"]) == ("1.10", False)
    page = json.loads(sagabus("kv", "list", "app/", "--json", *url).stdout)
    assert [item["key"] for item in page["items"]] == ["app/flags", "app/name"]
    shown = sagabus("kv", "list", *url).stdout
    assert "app/name" in shown
    assert "1.10" in shown
    assert sagabus("kv", "delete", "app/name", *url).returncode == 0
    missing = sagabus("kv", "get", "app/name", *url)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "sagabus: there is no key 'app/name'\n"
    assert sagabus("kv", "delete", "app/name", *url).returncode == 1


def test_a_secret_comes_from_standard_input_and_is_never_shown(sagabus, remote):
    done = piped(remote.url, "s3cret\n", "set", "token", "--secret")
    assert (done.returncode, done.stdout) == (0, "token is set\n")
    assert remote.do(remote.orchestrator.kv.reveal("token")) == "s3cret"
    url = ("--url", remote.url)
    got = sagabus("kv", "get", "token", *url)
    assert (got.returncode, got.stdout) == (1, "")
    assert "is a secret: only agents read it" in got.stderr
    for shown in (sagabus("kv", "list", *url), sagabus("kv", "get", "token", "--json", *url)):
        assert shown.returncode == 0
        assert "s3cret" not in shown.stdout


def test_a_secret_is_asked_for_on_a_terminal_without_echo(remote):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "kv", "set", "token", "--secret", "--url", remote.url],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    while b"token: " not in said:
        said += os.read(master, 1024)
    os.write(master, b"typed\n")
    assert process.wait(30) == 0
    said += os.read(master, 1024)
    os.close(master)
    assert b"typed" not in said
    assert remote.do(remote.orchestrator.kv.reveal("token")) == "typed"


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "a"],
        ["set", "a", "x", "--json", "1"],
        ["set", "a", "x", "--secret"],
        ["set", "a", "--json", "{"],
        ["set"],
        ["get"],
    ],
)
def test_wrong_usage_ends_with_2(sagabus, arguments):
    assert sagabus("kv", *arguments).returncode == 2
