"""Reads scripts: outcome files for ``sagabus rehearse``, and the tests of a pack."""

from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sagabus.definitions.source_file import YAML_SUFFIXES
from sagabus.definitions.toml_file import read_toml
from sagabus.definitions.yaml_file import read_yaml
from sagabus.errors import ConfigError
from sagabus.rehearsal.script import Script

#: It would pass, whatever it was meant to try.
_EMPTY: Final = "holds no script; write what happens, as in outcomes: {build: {error: broken}}"


def read_scripts(path: Path) -> list[Script]:
    """Every script of a YAML, JSON or TOML file: one per document, or a list under ``tests``.

    Raises:
        ConfigError: the file cannot be read, holds no script, or one that is none.
    """
    scripts = [_script(path, one) for document in _documents(path) for one in _listed(document)]
    if not scripts:
        raise ConfigError(_EMPTY, path=path)
    return scripts


def _documents(path: Path) -> list[Any]:
    if path.suffix in YAML_SUFFIXES | {".json"}:
        return [each.data for each in read_yaml(path) if each.data is not None]
    if path.suffix == ".toml":
        return [read_toml(path).data]
    raise ConfigError("a script is a .yaml, .json or .toml file", path=path)


def _listed(document: Any) -> list[Any]:
    if isinstance(document, dict) and isinstance(document.get("tests"), list):
        return list(document["tests"])
    return [document]


def _script(path: Path, data: Any) -> Script:
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        found = [
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError(f"not a script: {'; '.join(found)}", path=path) from None
