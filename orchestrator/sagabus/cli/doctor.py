"""``sagabus doctor``: what is installed, what runs, and what to do about the rest."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Final, Literal

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.nats_child import server_binary
from sagabus.cli.client import WORKFLOWS, Api
from sagabus.cli.data_dir import is_locked, read_endpoints
from sagabus.cli.output import instant, say_json, say_table, status
from sagabus.cli.pausing import remedy_for, title
from sagabus.cli.up import with_config
from sagabus.definitions.catalog import validate
from sagabus.errors import ApiError, BusError
from sagabus.settings import Settings

_PYTHON: Final = (3, 11)
_INSTALL: Final = "pip install 'sagabus[orchestrator]'"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``remedy`` is empty where nothing needs doing."""

    check: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""

    @property
    def words(self) -> str:
        """What was found, and what to do about it: in one column, the last, which is wrapped."""
        return f"{self.detail}; next: {self.remedy}" if self.remedy else self.detail


def run(settings: Settings, url: str | None, *, is_config_given: bool, is_json: bool) -> int:
    """Check everything; the exit code."""
    settings = with_config(settings, is_given=is_config_given)
    checks = [*_installation(), _config(settings), *_running(settings, url)]
    if is_json:
        say_json({"checks": [asdict(check) for check in checks]})
    else:
        say_table(
            ("", "CHECK", "FOUND"),
            ((status(check.level), check.check, check.words) for check in checks),
        )
    return 1 if any(check.level == "fail" for check in checks) else 0


def _installation() -> Iterator[Check]:
    version = sys.version.split()[0]
    if sys.version_info >= _PYTHON:
        yield Check("python", "ok", version)
    else:
        yield Check("python", "fail", version, "use Python 3.11 or newer")
    missing = [name for name in _needed() if not _is_installed(name)]
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", _INSTALL)
    else:
        yield Check("packages", "ok", f"sagabus {metadata.version('sagabus')}, all there")
    yield _nats_server()


def _needed() -> Iterator[str]:
    for requirement in metadata.requires("sagabus") or ():
        name = re.match(r"[\w.-]+", requirement)
        _, _, marker = requirement.partition(";")
        if name is not None and ("extra" not in marker or "orchestrator" in marker):
            yield name[0]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _nats_server() -> Check:
    try:
        binary = server_binary()
        found = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    except (BusError, OSError, subprocess.TimeoutExpired) as error:
        return Check(
            "nats-server", "warn", str(error), f"{_INSTALL}, or use 'sagabus orchestrator'"
        )
    return Check("nats-server", "ok", f"{found.stdout.strip()} ({binary})")


def _config(settings: Settings) -> Check:
    report = validate([settings.config], CedarPolicies.load)
    found = [*report.problems, *report.warnings]
    if not found:
        return Check("workflows file", "ok", f"{settings.config} is valid")
    level: Literal["warn", "fail"] = "fail" if report.problems else "warn"
    return Check("workflows file", level, str(found[0]), f"sagabus validate {settings.config}")


def _running(settings: Settings, url: str | None) -> Iterator[Check]:
    directory = settings.data_dir
    is_owned, endpoints = is_locked(directory), read_endpoints(directory)
    if is_owned and endpoints:
        yield Check("data directory", "ok", f"{directory} belongs to process {endpoints.pid}")
    elif is_owned:
        yield Check(
            "data directory",
            "warn",
            f"{directory} belongs to a process that is not ready",
            "it is starting or ending: ask again",
        )
    elif endpoints:
        yield Check(
            "data directory",
            "warn",
            f"{directory}: process {endpoints.pid} was killed",
            "start it again: what was unfinished goes on",
        )
    else:
        yield Check("data directory", "ok", f"{directory} is free")
    yield from _orchestrator(Api(url or (endpoints.http if endpoints else None)))


def _orchestrator(api: Api) -> Iterator[Check]:
    try:
        health = api.health()
        workflows = api.get(WORKFLOWS)
        agents = api.get("/api/v1/agents")["items"]
        dead = api.get("/api/v1/dead-letters", limit=1)["total"]
    except ApiError as error:
        yield Check("orchestrator", "warn", str(error), "sagabus up")
        return
    level: Literal["ok", "fail"] = "ok" if health["status"] == "ok" else "fail"
    yield Check("orchestrator", level, f"version {health['version']}, {health['status']}")
    refused = workflows["refused"]
    config = f"sagabus validate {shlex.quote(refused['file'])}" if refused else "ask again"
    for part, remedy in (*_REMEDIES.items(), ("config", config)):
        found = health[part]
        if found["ok"]:
            yield Check(part, "ok", found["detail"])
        else:
            yield Check(part, "fail", found["detail"], remedy)
    yield _dead_letters(dead)
    for hold in health["holds"]:
        why = f": {hold['reason']}" if hold["reason"] else ""
        by = f" by {hold['by']}" if hold["by"] else ""
        kind, name = hold["kind"], hold["name"]
        detail = f"{title(kind, name)} since {instant(hold['at'])}{by}{why}"
        yield Check("paused", "warn", detail, remedy_for(kind, name))
    yield from _agents(workflows["items"], agents)


def _dead_letters(letters: int) -> Check:
    if not letters:
        return Check("dead letters", "ok", "none")
    return Check(
        "dead letters", "warn", f"{letters} that nobody has dealt with", "sagabus dead list"
    )


_REMEDIES: Final = {
    "store": "start SurrealDB again: the orchestrator goes on by itself",
    "bus": "start NATS again: the orchestrator goes on by itself",
    "loops": "look into the orchestrator's log",
}


def _agents(workflows: Sequence[Any], agents: Sequence[Any]) -> Iterator[Check]:
    wanted = {
        role
        for workflow in workflows
        if workflow["enabled"]
        for stage in workflow["stages"]
        for role in (*stage["agents"], *stage["compensation_agents"])
    }
    for role in sorted(wanted):
        alive = sum(role in agent["roles"] for agent in agents)
        if alive:
            yield Check(f"role {role}", "ok", f"{alive} agent{'s' if alive > 1 else ''}")
        else:
            yield Check(f"role {role}", "warn", "no agent", "start one: its tasks wait until then")
