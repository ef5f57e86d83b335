"""`sagabus resources` and `sagabus drift` as processes."""

import json
from dataclasses import replace

import pytest

from sagabus.errors import BusUnavailableError
from tests.support.sample_resources import BLIND, CLEAN, REPORT, fill


def test_resources_are_listed_and_shown(sagabus, remote):
    fill(remote.orchestrator.resources)
    url = ("--url", remote.url)
    shown = sagabus("resources", "list", "--kind", "vm", *url).stdout.splitlines()
    assert shown[0].split() == [
        *("ID", "KIND", "STATUS", "VERSION", "ROLE", "WORKFLOW", "INSTANCE", "DECLARED")
    ]
    assert shown[1].split()[:7] == ["vm-1", "vm", "present", "2", "devops", "provision", "i2"]
    assert shown[2].split()[:4] == ["vm-2", "vm", "gone", "1"]
    page = json.loads(sagabus("resources", "list", "--status", "gone", "--json", *url).stdout)
    assert [item["id"] for item in page["items"]] == ["vm-2"]
    more = sagabus("resources", "list", "--limit", "1", *url).stdout
    assert "more: --cursor " in more
    one = sagabus("resources", "show", "vm", "vm-1", *url).stdout
    assert "vm vm-1: present, version 2" in one
    assert "declared by provision i2, stage make, role devops, 2026-03-01 13:00:00Z" in one
    assert '{"size": "xs"}' in one
    assert "gone, void" in one
    zone = sagabus("resources", "show", "dns", "../zones/a%2Fb?c#d", "--json", *url)
    assert json.loads(zone.stdout)["spec"] == {"ttl": 5}
    missing = sagabus("resources", "show", "vm", "nope", *url)
    assert (missing.returncode, missing.stderr) == (
        1,
        "sagabus: there is no resource vm 'nope'\n",
    )


def test_drift_is_told_line_by_line_and_by_the_exit_code(sagabus, remote):
    remote.orchestrator.report = REPORT
    found = sagabus("drift", "vm", "--timeout", "5", "--url", remote.url)
    assert remote.orchestrator.looks == [("vm", 5.0)]
    assert found.stdout.splitlines() == [
        "- vm vm-1 is missing; declared by provision i1, stage make",
        "~ vm vm-2 has changed; declared by provision i1, stage make",
        '    size: "s" → "xl"',
        '    tags.env: "prod" is not there',
        "    public: true was not declared",
        "+ vm stranger is unmanaged",
        "+ vm ghost is unmanaged; thought to be gone since 2026-03-01 12:00:00Z",
        "3 resources observed: 1 missing, 1 changed, 2 unmanaged",
    ]
    assert found.returncode == 1
    remote.orchestrator.report = CLEAN
    clean = sagabus("drift", "--url", remote.url)
    assert (clean.returncode, clean.stdout) == (0, "3 resources observed: no drift\n")
    remote.orchestrator.report = replace(CLEAN, observed=1)
    one = sagabus("drift", "--url", remote.url)
    assert one.stdout == "1 resource observed: no drift\n"


def test_what_was_not_observed_is_named_and_exits_with_2(sagabus, remote):
    remote.orchestrator.report = BLIND
    found = sagabus("drift", "--url", remote.url)
    assert found.returncode == 2
    assert (
        "? role network, kind dns (2 resources) not observed: no agent of role 'network' is alive"
        in found.stdout.splitlines()
    )
    document = json.loads(sagabus("drift", "--json", "--url", remote.url).stdout)
    assert (document["has_drift"], document["is_complete"]) == (True, False)


@pytest.mark.parametrize("is_there", [True, False])
def test_drift_that_cannot_be_looked_for_is_no_drift(sagabus, remote, is_there):
    remote.orchestrator.failure = BusUnavailableError("no connection to NATS")
    url = remote.url if is_there else "http://127.0.0.1:9"
    found = sagabus("drift", "--url", url)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("sagabus: no ")
