"""The Python actions of a pack as an agent: ``run(...)`` of a file, found by its action file.

``packs/<name>/actions/<action>.yaml`` names the file (``entry_point``, by default ``<action>.py``
beside it) and the role (by default the pack's name). Its other keys are the orchestrator's, which
checks them. The contract stands in ``docs/cli.md`` under "Ready-made agents".
"""

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sagabus_agents.agent import DEFAULT_CONCURRENCY, DEFAULT_DRAIN_S, Agent
from sagabus_agents.errors import BadInputError
from sagabus_agents.task import Task
from sagabus_agents.wire import ROLE_PATTERN

try:
    import yaml
except ImportError as error:
    raise ImportError("it needs pyyaml: pip install 'sagabus[packs]'", name="yaml") from error

#: Where packs are looked for, below the working directory.
PACK_DIRECTORIES: Final = (Path("packs"), Path("config/packs"))
MAX_FILE_BYTES: Final = 1024 * 1024
#: What undoes; the first that a file has.
_UNDO_NAMES: Final = ("undo", "compensate")
#: What the engine adds to the parameters where a stage has no ``input``.
_ADDED: Final = frozenset({"previous", "item", "index"})


class PackError(Exception):
    """A pack cannot be run; one line per problem, each with its file."""


def pack_agent(
    name: str,
    packs: Path | None = None,
    *,
    nats_url: str | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    drain_s: float = DEFAULT_DRAIN_S,
) -> Agent:
    """An agent that runs the Python actions of a pack.

    Args:
        name: of the pack, which is the name of its directory.
        packs: the directory of packs; by default ``packs``, else ``config/packs``.
        nats_url: see ``Agent``.
        concurrency: see ``Agent``.
        drain_s: see ``Agent``.

    Raises:
        PackError: there is no such pack, nothing in it to run, or a file of it is wrong.
    """
    directory = _directory(name, packs)
    problems: list[str] = []
    actions = list(_actions(name, directory, problems))
    loaded = [(action, _load(name, action, problems)) for action in actions]
    if not actions and not problems:
        problems.append(f"{directory}: none of its actions has a Python file")
    if problems:
        raise PackError("\n".join(problems))
    roles = dict.fromkeys(action.role for action in actions)
    agent = Agent(*roles, concurrency=concurrency, nats_url=nats_url, drain_s=drain_s)
    for action, calls in loaded:
        for call in calls:
            register = agent.compensation if call.is_undo else agent.task
            register(action.name)(call.handler())
    return agent


@dataclass(frozen=True, slots=True)
class _Action:
    """What an action file says of its Python file."""

    name: str
    role: str
    file: Path


@dataclass(frozen=True, slots=True)
class _Call:
    """A function of a pack, which gets what it names."""

    function: Callable[..., Any]
    is_undo: bool
    parameters: Mapping[str, inspect.Parameter]
    #: It takes whatever there is: ``**parameters``.
    is_open: bool

    @classmethod
    def of(cls, function: Callable[..., Any], *, is_undo: bool) -> "_Call":
        """What ``function`` asks for.

        Raises:
            TypeError: an argument of it cannot be given by name.
        """
        parameters = inspect.signature(function).parameters
        named = {name: one for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD}
        for one in named.values():
            if one.kind in {one.VAR_POSITIONAL, one.POSITIONAL_ONLY}:
                raise TypeError(f"{one.name!r} cannot be given by its name")
        return cls(function, is_undo, named, is_open=len(named) < len(parameters))

    def handler(self) -> Callable[[Task], Any]:
        """What an agent registers."""

        def run(task: Task) -> Any:
            return self.function(**self.arguments(task))

        async def run_async(task: Task) -> Any:
            return await self.function(**self.arguments(task))

        return run_async if inspect.iscoroutinefunction(self.function) else run

    def arguments(self, task: Task) -> dict[str, Any]:
        """What it is called with.

        Raises:
            BadInputError: the input does not fit its parameters.
        """
        ours: dict[str, Any] = {
            name: task for name, one in self.parameters.items() if _wants_task(one)
        }
        if self.is_undo:
            about = {
                "output": task.original_context.get("output"),
                "artifacts": task.artifacts_to_undo,
            }
            ours |= {name: value for name, value in about.items() if name in self.parameters}
        wanted = {name: one for name, one in self.parameters.items() if name not in ours}
        if not wanted and not self.is_open:
            return ours
        return self._named(self._input(task), wanted) | ours

    def _input(self, task: Task) -> Mapping[str, Any]:
        value = task.input
        if self.is_undo and value is None:
            value = task.original_context.get("input")
        if value is not None and not isinstance(value, Mapping):
            raise BadInputError(f"a table of parameters is needed, not {value!r:.60}")
        return value or {}

    def _named(
        self, given: Mapping[str, Any], wanted: Mapping[str, inspect.Parameter]
    ) -> dict[str, Any]:
        missing = [
            name for name, one in wanted.items() if one.default is one.empty and name not in given
        ]
        if missing:
            raise BadInputError(f"the input has no {' and no '.join(missing)}")
        if self.is_open:
            return dict(given)
        # An undo gets the whole input of what it undoes and takes what it needs.
        unknown = [] if self.is_undo else [n for n in given if n not in wanted and n not in _ADDED]
        if unknown:
            raise BadInputError(
                f"the action does not take {', '.join(unknown)}; "
                f"it takes {', '.join(wanted) or 'nothing'}"
            )
        return {name: value for name, value in given.items() if name in wanted}


def _wants_task(parameter: inspect.Parameter) -> bool:
    return parameter.name == "task" or parameter.annotation in {Task, "Task"}


def _directory(name: str, packs: Path | None) -> Path:
    if not re.fullmatch(ROLE_PATTERN, name):
        raise PackError(f"{name!r} is not the name of a pack: letters, digits, '-' and '_'")
    parents = [packs] if packs else list(PACK_DIRECTORIES)
    for parent in parents:
        if (parent / name).is_dir():
            return parent / name
    looked = " or ".join(str(parent) for parent in parents)
    raise PackError(
        f"there is no pack {name} in {looked}; name the directory of packs with --packs"
    )


def _actions(pack: str, directory: Path, problems: list[str]) -> Iterator[_Action]:
    """The actions that have a Python file; others are done by agents of another kind."""
    files = sorted(
        path for path in (directory / "actions").glob("*") if path.suffix in {".yaml", ".yml"}
    )
    for path in files:
        try:
            about = _read(path)
            role = _text(about, "role") or pack
            if not re.fullmatch(ROLE_PATTERN, role):
                raise PackError(f"role {role!r}: letters, digits, '-' and '_', at most 64")
            entry_point = _text(about, "entry_point")
        except PackError as error:
            problems.append(f"{path}: {error}")
            continue
        file = path.parent / (entry_point or f"{path.stem}.py")
        if path.parent not in file.parents or ".." in file.relative_to(path.parent).parts:
            problems.append(f"{path}: `entry_point`: {file} is outside of the pack's actions")
        elif file.is_file() and file.suffix == ".py":
            yield _Action(path.stem, role, file)
        elif not file.is_file() and file.suffix == ".py" and entry_point:
            problems.append(f"{path}: there is no file {file}, which entry_point names")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()
        if len(text) > MAX_FILE_BYTES:
            raise PackError(f"larger than {MAX_FILE_BYTES} bytes")
        about = yaml.safe_load(text)
    except OSError as error:
        raise PackError(f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise PackError(f"no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(about, Mapping | None):
        raise PackError("write a table: `description: ...`, `parameters: ...`")
    return about or {}


def _text(about: Mapping[str, Any], key: str) -> str | None:
    value = about.get(key)
    if value is None or isinstance(value, str):
        return value
    raise PackError(f"`{key}`: {value!r} does not fit; write text")


def _load(pack: str, action: _Action, problems: list[str]) -> list[_Call]:
    name = re.sub(r"\W", "_", f"sagabus_pack_{pack}_{action.name}")
    try:
        module = _import(name, action.file)
        run = getattr(module, "run", None)
        if not callable(run):
            raise PackError(f"{action.file}: has no function run; write `def run(...)`")
        undo = next((getattr(module, one) for one in _UNDO_NAMES if hasattr(module, one)), None)
        calls = [_call(action.file, run, is_undo=False)]
        return calls + ([] if undo is None else [_call(action.file, undo, is_undo=True)])
    except PackError as error:
        problems.append(str(error))
        return []


def _call(file: Path, function: Callable[..., Any], *, is_undo: bool) -> _Call:
    try:
        return _Call.of(function, is_undo=is_undo)
    except (TypeError, ValueError) as error:
        raise PackError(f"{file}: {getattr(function, '__name__', function)}: {error}") from error


def _import(name: str, file: Path) -> ModuleType:
    # At the end of the path: what actions share can be imported, and hides nobody's module.
    shared = str(file.parent.resolve())
    if shared not in sys.path:
        sys.path.append(shared)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PackError(f"{file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and annotations look names up
    try:
        spec.loader.exec_module(module)
    # A module that ends the process on import is as wrong as one that does not compile.
    except (Exception, SystemExit) as error:
        raise PackError(f"{_line(file, error)}: {type(error).__name__}: {error}") from error
    return module


def _line(file: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename or file}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f"{file}:{lines[-1]}" if lines else str(file)
