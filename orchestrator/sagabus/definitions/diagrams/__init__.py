"""Pictures of a workflow's graph: for documents (Mermaid, DOT), for the eye (SVG), for terminals.

SVG needs no program besides this one: a layered layout of our own places stages and edges.
"""

from collections.abc import Callable, Mapping
from typing import Final

from sagabus.core.graph import Graph
from sagabus.definitions.diagrams.dot import dot
from sagabus.definitions.diagrams.mermaid import mermaid
from sagabus.definitions.diagrams.svg import svg
from sagabus.definitions.diagrams.text import text

#: By name of the format.
FORMATS: Final[Mapping[str, Callable[[Graph], str]]] = {
    "text": text,
    "mermaid": mermaid,
    "dot": dot,
    "svg": svg,
}
