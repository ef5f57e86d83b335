"""What `start --wait` and `watch` exit with."""

import pytest

from sagabus.cli.follow import exit_code


@pytest.mark.parametrize(
    ("status", "handled", "rollback", "code"),
    [
        ("completed", 0, "none", 0),
        ("completed", 1, "none", 3),
        ("completed", 0, "partial", 3),
        ("rolled_back", 0, "full", 1),
        ("failed", 0, "none", 1),
        ("cancelled", 0, "full", 1),
    ],
)
def test_exit_code_says_how_it_ended(status: str, handled: int, rollback: str, code: int) -> None:
    ended = {"status": status, "handled_failures": handled, "rollback": rollback}
    assert exit_code(ended) == code
