"""A data directory: one orchestrator at a time, and where it can be reached."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sagabus.errors import SettingsError

_LOCK: Final = "lock"
_ENDPOINTS: Final = "endpoints.json"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What ``endpoints.json`` holds while an orchestrator is ready."""

    nats: str
    http: str
    pid: int
    version: str


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Own ``directory`` for the time of the context; a killed owner's lock is free at once.

    Raises:
        SettingsError: another process owns it, or it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"cannot use the data directory {directory}: {error.strerror}"
        ) from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"{directory} is in use by {_owner(file)}: stop that one first, or choose another"
                " data directory with --data"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)


def is_locked(directory: Path) -> bool:
    """Whether an orchestrator owns ``directory`` now."""
    try:
        file = os.open(directory / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def announced(directory: Path, endpoints: Endpoints) -> Iterator[None]:
    """Keep ``endpoints.json`` there for the time of the context."""
    path = directory / _ENDPOINTS
    fresh = path.with_suffix(f".{endpoints.pid}")
    # It may hold a password of the bus.
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(endpoints), file)
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_endpoints(directory: Path) -> Endpoints | None:
    """The endpoints in ``directory``; None: no orchestrator is ready there."""
    try:
        found = json.loads((directory / _ENDPOINTS).read_bytes())
        return Endpoints(**found)
    except (OSError, ValueError, TypeError):
        return None


def find_endpoints(start: Path, environ: Mapping[str, str]) -> Endpoints | None:
    """Those of ``$SAGABUS_DATA``, else of the nearest ``.sagabus`` at or above ``start``."""
    if named := environ.get("SAGABUS_DATA"):
        return read_endpoints(Path(named))
    for directory in (start, *start.parents):
        if found := read_endpoints(directory / ".sagabus"):
            return found
    return None


def _owner(file: int) -> str:
    pid = os.pread(file, 20, 0).decode(errors="replace").strip()
    return f"process {pid}" if pid.isdigit() else "another process"
