"""Workflows of a pack, taken from its files: what ``sagabus pack register`` sends."""

from pathlib import Path
from typing import Any, Final

import yaml

from sagabus.definitions.field_types import is_role
from sagabus.definitions.packs import PACK_FILE, read_settings
from sagabus.definitions.registered import with_settings
from sagabus.definitions.source_file import MAX_FILE_BYTES, YAML_SUFFIXES
from sagabus.definitions.yaml_file import parse_yaml
from sagabus.errors import ConfigError
from sagabus.text_file import read_text

_TOO_LARGE: Final = "split it into several files"


def read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """The name of the pack at or around ``path``, and its workflows, or the one file's.

    Settings of the pack go with each. The workflows are not checked here: the orchestrator does
    that, beside what it has in force.

    Raises:
        ConfigError: it is no pack, holds no workflow, or cannot be read.
        InvalidConfigError: what is wrong with its settings.
    """
    directory = pack_of(path)
    files = [path] if path != directory else _workflow_files(directory)
    settings = read_settings(directory)
    documents = [
        {"file": str(file), "line": line, "text": with_settings(text, settings)}
        for file in files
        for line, text in split(read_text(file, MAX_FILE_BYTES, _TOO_LARGE))
    ]
    if not documents:
        raise ConfigError("holds no workflows; write them into workflows/*.yaml", path=path)
    return directory.resolve().name, documents


def pack_of(path: Path) -> Path:
    """The directory of the pack that ``path`` is, or is a YAML file in.

    Raises:
        ConfigError: it is neither.
    """
    if path.is_dir():
        around = [path]
    else:
        if path.suffix not in YAML_SUFFIXES:
            raise ConfigError("is no YAML file; name a pack's directory, or one", path=path)
        around = [path.parent, path.parent.parent]
    for directory in around:
        if (directory / PACK_FILE).is_file():
            return directory
    directory = around[-1] if around[0].name == "workflows" else around[0]
    name = _pack_in(path) or directory.resolve().name
    homes = [one.resolve().name for one in around]
    # A pack is called what its directory is called.
    moved = "" if name in homes else f"move it to {name}/workflows, and "
    file = f"{name}/{PACK_FILE}" if moved else PACK_FILE
    raise ConfigError(f"belongs to no pack; {moved}write {file} with ref: {name}", path=path)


def _pack_in(path: Path) -> str | None:
    """The pack that the first workflow of a file says that it is in."""
    if path.is_dir():
        return None
    try:
        documents = parse_yaml(read_text(path, MAX_FILE_BYTES, _TOO_LARGE), path)
    except ConfigError:
        return None  # which is not what is wrong in the first place
    tables = [one.data for one in documents if isinstance(one.data, dict)]
    names = (str(one.get("ref", one.get("name", ""))).partition(".") for one in tables)
    return next((pack for pack, dot, _ in names if dot and is_role(pack)), None)


def split(text: str) -> list[tuple[int, str]]:
    """The documents of a YAML file, each with the line it begins in.

    What is no YAML stays in one piece: whoever reads it says what is wrong.
    """
    try:
        parse_yaml(text, None)  # bounded in depth and size, as the parser below is not
        starts = [
            event.start_mark.line
            for event in yaml.parse(text, Loader=yaml.CSafeLoader)
            if isinstance(event, yaml.DocumentStartEvent) and event.start_mark is not None
        ]
    except (ConfigError, yaml.YAMLError):
        return [(1, text)]
    lines = text.splitlines(keepends=True)
    # What stands before the first document are comments, which go with it.
    ends = [*starts[1:], len(lines)]
    begins = [0, *starts[1:]]
    pieces = [
        (begin + 1, "".join(lines[begin:end])) for begin, end in zip(begins, ends, strict=False)
    ]
    return [(line, piece) for line, piece in pieces if _says_something(piece)]


def _says_something(piece: str) -> bool:
    return any(
        line.strip() not in {"", "---", "..."} and not line.lstrip().startswith("#")
        for line in piece.splitlines()
    )


def _workflow_files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in (directory / "workflows").glob("*")
        if path.suffix in YAML_SUFFIXES and not path.name.startswith(".")
    )
