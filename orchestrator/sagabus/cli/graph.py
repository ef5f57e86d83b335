"""``sagabus graph``: a workflow drawn, from a file or as a running orchestrator has it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import TypeAdapter

from sagabus.cli.client import Api, instance_path, workflow_path
from sagabus.cli.output import clean, say_json
from sagabus.cli.written import write
from sagabus.core.definition import Definition
from sagabus.core.graph import Graph, graph_of
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.diagrams import FORMATS
from sagabus.definitions.source_file import YAML_SUFFIXES
from sagabus.settings import Settings
from sagabus.views.graphs import view_of

_GRAPH: Final = TypeAdapter(Graph)
_SUFFIXES: Final = YAML_SUFFIXES | {".toml"}


def run(
    name: str | None,
    *,
    file: Path | None,
    form: str,
    instance: str | None,
    output: Path | None,
    is_json: bool,
    url: str | None,
) -> None:
    """Print the graph, or write it to ``output``."""
    found = _find(name, file, instance, url)
    if is_json:
        say_json(view_of(found).model_dump(mode="json"))
        return
    drawn = FORMATS[form](found)
    # Agents write parts of what an instance shows; a terminal must not obey them.
    write(clean(drawn) if output is None else drawn, output)


def _find(name: str | None, file: Path | None, instance: str | None, url: str | None) -> Graph:
    if instance is not None:
        return _asked(url, instance_path(instance, "graph"))
    if file is None and name is not None and Path(name).suffix in _SUFFIXES:
        file, name = Path(name), None
    if file is None and not url:
        default = Settings.load({}, os.environ).config
        file = default if default.is_file() else None
    if file is not None:
        return graph_of(_choose(Catalog.load(file), name, file))
    if name is None:
        raise typer.BadParameter("name the workflow: sagabus graph NAME")
    return _asked(url, workflow_path(name, "graph"))


def _asked(url: str | None, path: str) -> Graph:
    document: Mapping[str, Any] = Api(url).get(path)
    return _GRAPH.validate_python(document)


def _choose(catalog: Catalog, name: str | None, file: Path) -> Definition:
    if name is not None:
        return catalog.get(name)
    names = catalog.named()
    if len(names) == 1:
        return catalog.get(names[0])
    raise typer.BadParameter(
        f"{file} has {len(names)} workflows ({', '.join(names) or 'none'}): name one: "
        f"sagabus graph NAME -f {file}"
    )
