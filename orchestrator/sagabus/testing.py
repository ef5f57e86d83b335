"""Rehearsals in pytest: ``from sagabus.testing import rehearse`` or the fixture of that name.

::

    pytest_plugins = ["sagabus.testing"]

    def test_a_failing_test_undoes_the_build(rehearse):
        run = rehearse("config/workflows.toml", "deploy_pipeline", outcomes={
            "smoke_test": {"error": "broken"},
        })
        assert run.status == "rolled_back"
        assert run.compensated == ["migrate_db", "provision"]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sagabus.core.instance import InstanceState
from sagabus.definitions.catalog import Catalog
from sagabus.rehearsal.report import compensated, lines_of, path_of, unused
from sagabus.rehearsal.script import Script
from sagabus.rehearsal.simulator import Rehearsed
from sagabus.rehearsal.simulator import rehearse as _rehearse


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a rehearsal."""

    rehearsed: Rehearsed

    @property
    def state(self) -> InstanceState:
        """The instance with all its attempts."""
        return self.rehearsed.state

    @property
    def status(self) -> str:
        """The status it ended with."""
        return self.state.row.status.value

    @property
    def path(self) -> list[str]:
        """Stages in the order in which they began."""
        return path_of(self.rehearsed)

    @property
    def compensated(self) -> list[str]:
        """Stages in the order in which their compensations were sent."""
        return compensated(self.rehearsed)

    @property
    def output(self) -> Mapping[str, Any]:
        """What ``output_map`` gave."""
        return self.state.row.output

    @property
    def never_used(self) -> list[str]:
        """Names of the script that came to nothing, as in ``outcomes.build-2-0``."""
        return unused(self.rehearsed)

    def input(self, stage: str, index: int = 0, pass_: int = 1) -> Any:
        """What a task of ``stage`` was sent with.

        Raises:
            KeyError: it was never sent.
        """
        return self.state.attempts[f"{stage}-{pass_}-{index}"][0].input

    def __str__(self) -> str:
        """The account, line by line: what pytest shows of a failed test."""
        return "\n".join(lines_of(self.rehearsed, None))


def rehearse(
    config: Path | str,
    workflow: str,
    parameters: Mapping[str, Any] | None = None,
    **script: Any,
) -> Run:
    """Run ``workflow`` of the file ``config`` on paper; ``script`` as in ``rehearsal.script``.

    Raises:
        InvalidConfigError: everything that is wrong with the file.
        ValidationError: the script is none.
        InvalidRequestError: the parameters do not fit, or the script names what cannot be.
    """
    catalog = Catalog.load(Path(config))
    read = Script.model_validate({"parameters": dict(parameters or {}), **script})
    return Run(_rehearse(catalog.get(workflow), read, catalog.get))


@pytest.fixture(name="rehearse")
def _rehearse_fixture() -> Any:
    return rehearse
