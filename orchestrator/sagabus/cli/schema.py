"""``sagabus schema``: what editors need to know of the files."""

from pathlib import Path

from sagabus.cli.written import write
from sagabus.definitions.editor_schema import as_text, pack_schema, toml_schema


def run(*, is_pack: bool, output: Path | None) -> None:
    """Print the schema, or write it to ``output``."""
    write(as_text(pack_schema() if is_pack else toml_schema()), output)
