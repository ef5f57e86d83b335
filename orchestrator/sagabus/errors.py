"""Every error the orchestrator raises on purpose, in one tree.

::

    SagabusError
    ├── ConfigError(path, line)                         a file an operator edits is wrong
    │   ├── DefinitionError(workflow, stage, key)       ... in a workflow
    │   └── InvalidConfigError(problems)                everything that is wrong, one line each
    ├── SettingsError                                   a flag, an environment variable, an address
    ├── InvariantError(instance_id)                     our bug: the instance is parked
    ├── RequestError(code)                              a caller's mistake
    │   ├── WorkflowNotFoundError
    │   ├── InstanceNotFoundError
    │   ├── LetterNotFoundError
    │   ├── ResourceNotFoundError
    │   ├── InvalidRequestError                         parameters, ids, sizes
    │   └── ConflictError                               refused in the present state
    ├── StoreError
    │   ├── StoreUnavailableError                       outcome of the call unknown, or never sent
    │   ├── PartitionLostError(partition)               another owner has raised the epoch
    │   ├── VersionConflictError(instance_id)           a row is not what this owner wrote last
    │   ├── OutdatedStoreError                          the bus has seen more than is stored
    │   └── MigrationError                              changed, missing or newer migration files
    ├── BusError
    │   ├── BusUnavailableError
    │   └── BadMessageError(reason)
    ├── ApiError(code)                                  the command line: refused, or nobody answers
    └── UnauthorizedError(principal, action, resource, policies)

What a user sees is ``str(error)``: one sentence that says what is wrong, where, and what to do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: Longest sentence about a file; of a longer one the middle is left out.
_MAX_CHARS: Final = 2_000
#: Most problems that one error lists.
_MAX_PROBLEMS: Final = 150


class SagabusError(Exception):
    """Anything sagabus raises on purpose."""


class ConfigError(SagabusError):
    """A configuration file is wrong; ``str`` is one line and begins with ``path:line:``.

    The file's own words stand in the message, and whoever wrote them may mean harm: what moves a
    terminal's cursor, or makes text read otherwise than it is, is written out.
    """

    def __init__(
        self, message: str, *, path: Path | str | None = None, line: int | None = None
    ) -> None:
        self.message = _in_one_line(message)
        self.path = str(path) if path is not None else None
        self.line = line
        place = ":".join(_in_one_line(str(one)) for one in (path, line) if one is not None)
        super().__init__(f"{place}: {self.message}" if place else self.message)


class DefinitionError(ConfigError):
    """A workflow definition is wrong, at ``workflow``, ``stage`` and ``key`` as far as known."""

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        workflow: str | None = None,
        stage: str | None = None,
        key: str | None = None,
    ) -> None:
        self.workflow = workflow
        self.stage = stage
        self.key = key
        super().__init__(message, path=path, line=line)


class InvalidConfigError(ConfigError):
    """Everything that is wrong with a configuration; ``str`` has one line per problem."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        self.problems = tuple(problems)
        self.path = self.line = None
        lines = [str(problem) for problem in self.problems[:_MAX_PROBLEMS]]
        if len(self.problems) > _MAX_PROBLEMS:
            lines.append(f"... and {len(self.problems) - _MAX_PROBLEMS} more problems")
        self.message = "\n".join(lines)
        SagabusError.__init__(self, self.message)


class SettingsError(SagabusError):
    """A flag, an environment variable or an address cannot be used."""


class InvariantError(SagabusError):
    """The machine met a state that its own rules exclude: a bug of ours, never of a user."""

    def __init__(self, message: str, *, instance_id: str | None = None) -> None:
        self.instance_id = instance_id
        super().__init__(message)


class RequestError(SagabusError):
    """A request cannot be granted; ``code`` is the stable word for it in the API."""

    code = "bad_request"


class WorkflowNotFoundError(RequestError):
    """No workflow of this name is loaded."""

    code = "workflow_not_found"


class InstanceNotFoundError(RequestError):
    """No instance has this id."""

    code = "instance_not_found"


class LetterNotFoundError(RequestError):
    """No dead letter has this number (any more)."""

    code = "dead_letter_not_found"


class ResourceNotFoundError(RequestError):
    """No such resource was declared, or none of its kind."""

    code = "resource_not_found"


class InvalidRequestError(RequestError):
    """The request itself is wrong: an id, a parameter, a size."""

    code = "invalid_request"


class ConflictError(RequestError):
    """The request is well-formed and makes no sense in the present state."""

    code = "conflict"


class StoreError(SagabusError):
    """The database refused or failed."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached; whether the last write took effect is not known."""


class PartitionLostError(StoreError):
    """Another orchestrator owns the partition now."""

    def __init__(self, message: str, *, partition: int) -> None:
        self.partition = partition
        super().__init__(message)


class VersionConflictError(StoreError):
    """An instance's row is not the one this owner wrote last; nothing of the batch was stored."""

    def __init__(self, message: str, *, instance_id: str) -> None:
        self.instance_id = instance_id
        super().__init__(message)


class OutdatedStoreError(StoreError):
    """The bus has seen more of the database than is stored: it was restored from a backup."""


class MigrationError(StoreError):
    """The migrations recorded in the database and the files at hand do not agree."""


class BusError(SagabusError):
    """The bus refused or failed."""


class BusUnavailableError(BusError):
    """The bus cannot be reached."""


class BadMessageError(BusError):
    """A message does not follow the wire contract."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ApiError(SagabusError):
    """An orchestrator refused a command of the command line, or none answers; ``code`` says why."""

    def __init__(self, message: str, *, code: str) -> None:
        self.code = code
        super().__init__(message)


class UnauthorizedError(SagabusError):
    """A policy denies the action; ``policies`` names those that decided, (none: default deny)."""

    def __init__(
        self, principal: str, action: str, resource: str, policies: Sequence[str] = ()
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.policies = tuple(policies)
        why = f"denied by {', '.join(policies)}" if policies else "no policy permits it"
        super().__init__(f"{principal} may not {action} on {resource}: {why}")


def _in_one_line(text: str) -> str:
    if len(text) > _MAX_CHARS:
        half = _MAX_CHARS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else " " if one.isspace() else ascii(one)[1:-1] for one in text
    )
