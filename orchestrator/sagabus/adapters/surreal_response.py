"""What SurrealDB answers to a call: a result per statement, or the reason why there is none.

The driver raises the first statement that failed, which after a rollback says only "not executed".
"""

from typing import Any, Final

from sagabus.errors import StoreError

#: What an aborted transaction says of the statements that are not its cause.
_CONSEQUENCES: Final = frozenset({"NotExecuted", "Cancelled"})


class StatementError(StoreError):
    """A statement failed; ``kind`` and ``detail`` are SurrealDB's words, ``record`` the row."""

    def __init__(self, message: str, *, kind: str = "", detail: str = "", record: str = "") -> None:
        self.kind = kind
        self.detail = detail
        self.record = record
        super().__init__(message)


def read_results(response: dict[str, Any]) -> list[Any]:
    """Results by statement.

    Raises:
        StatementError: one failed; of several, the one that made the others fail.
    """
    if response.get("error") is not None:
        raise _statement_error(response["error"], response["error"].get("message", ""))
    statements: list[dict[str, Any]] = response["result"]
    failed = [statement for statement in statements if statement["status"] != "OK"]
    if failed:
        causes = [each for each in failed if _detail(each) not in _CONSEQUENCES]
        cause = (causes or failed)[0]
        raise _statement_error(cause, cause["result"])
    return [statement["result"] for statement in statements]


def _detail(failure: dict[str, Any]) -> str:
    return str((failure.get("details") or {}).get("kind", ""))


def _statement_error(failure: dict[str, Any], message: str) -> StatementError:
    inner = (failure.get("details") or {}).get("details") or {}
    return StatementError(
        f"SurrealDB refused a statement: {message}",
        kind=str(failure.get("kind", "")),
        detail=_detail(failure),
        record=str(inner.get("id", "")),
    )
