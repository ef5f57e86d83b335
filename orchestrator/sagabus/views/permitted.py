"""The table of permitted commands as the guide for operators shows it."""

import sys
from pathlib import Path
from typing import Final

from sagabus.core.instance import InstanceStatus
from sagabus.core.permitted import COMMANDS, Cell, CommandName, cell

START: Final = "<!-- made by: python -m sagabus.views.permitted docs/operators.md -->\n"
END: Final = "<!-- end of what is made -->"

_SHOWN: Final[dict[CommandName, str]] = {
    "cancel_no_compensate": "cancel --no-compensate",
    "set_result": "set-result",
}


def markdown() -> str:
    """A table of commands by status, and under it what the numbers in its cells say."""
    notes: list[str] = []
    head = ["", *(status.value for status in InstanceStatus)]
    lines = [head, ["---", *(":-:" for _ in InstanceStatus)]]
    for command in COMMANDS:
        row = [f"`{_SHOWN.get(command, command)}`"]
        row += [_mark(cell(command, status), notes) for status in InstanceStatus]
        lines.append(row)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    said = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    return f"{START}{table}\n\n{said}\n{END}\n"


def _mark(found: Cell, notes: list[str]) -> str:
    mark = "yes" if found.is_permitted else "no"
    if not found.text:
        return mark
    text = found.text.format(status="`STATUS`", by="")
    note = f"Where {text}." if found.is_permitted else f"Refused: {text}."
    if note not in notes:
        notes.append(note)
    return f"{mark} ({notes.index(note) + 1})"


def _write(path: Path) -> None:
    text = path.read_text()
    before, _, rest = text.partition(START)
    path.write_text(before + markdown() + rest.partition(f"{END}\n")[2])


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
