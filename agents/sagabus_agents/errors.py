"""What a handler raises to say how its task failed, and how any exception is reported.

::

    TaskError
    ├── RetryableError(message, retry_after, type)      worth another attempt
    ├── UnknownOutcomeError(message)                    it may have acted, and nobody knows
    └── PermanentError(message, type)                   trying again will not help
        └── BadInputError                               the input does not fit the handler
"""

from datetime import timedelta
from typing import ClassVar

from sagabus_agents.wire import ErrorInfo

MAX_MESSAGE_CHARS = 8_000
MAX_TYPE_CHARS = 200


class TaskError(Exception):
    """A failure with a type of its own; the class name is the type unless ``type`` is given."""

    retryable: ClassVar[bool] = True
    default_type: ClassVar[str | None] = None

    def __init__(self, message: str = "", *, type: str | None = None) -> None:
        self.message = message
        self.type = type or self.default_type or self.__class__.__name__
        super().__init__(message)


class RetryableError(TaskError):
    """The attempt failed and the next one may succeed; ``retry_after`` replaces the policy's delay.

    ``retry_after`` is a duration or a number of seconds.
    """

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | timedelta | None = None,
        type: str | None = None,
    ) -> None:
        if isinstance(retry_after, timedelta):
            retry_after = retry_after.total_seconds()
        self.retry_after_s = None if retry_after is None else max(0.0, float(retry_after))
        super().__init__(message, type=type)


class UnknownOutcomeError(TaskError):
    """The task may have acted, and there is no telling: a call broke off before its answer.

    What is final is then held for an operator, and not tried again.
    """

    default_type = "unknown_outcome"


class PermanentError(TaskError):
    """The task fails for good: no further attempt is made."""

    retryable = False


class BadInputError(PermanentError):
    """The task's input is not what the handler asks for."""

    default_type = "bad_input"


def describe(error: BaseException) -> ErrorInfo:
    """How ``error`` stands in a result: an exception nobody planned is retryable."""
    if isinstance(error, TaskError):
        return error_info(
            error.type,
            error.message,
            retryable=error.retryable,
            retry_after_s=error.retry_after_s if isinstance(error, RetryableError) else None,
        )
    return error_info(type(error).__name__, str(error))


def error_info(
    type: str, message: str, *, retryable: bool = True, retry_after_s: float | None = None
) -> ErrorInfo:
    """An ``ErrorInfo`` cut to the limits of the contract."""
    return ErrorInfo(
        type=type[:MAX_TYPE_CHARS],
        message=message[:MAX_MESSAGE_CHARS],
        retryable=retryable,
        retry_after_s=retry_after_s,
    )
