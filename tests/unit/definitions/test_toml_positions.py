"""The scan for lines is held to tomli: both must see the same keys, on the lines they stand on."""

import random
from pathlib import Path
from typing import Any

import pytest
import tomli

from sagabus.definitions.source_file import line_of
from sagabus.definitions.toml_positions import key_lines

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "config/workflows.toml", *sorted((ROOT / "tests/cases/vapora").glob("*.toml"))]


def paths_in(data: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every key and element that tomli sees."""
    found = {path} if path else set()
    if isinstance(data, dict):
        items = list(data.items())
    else:
        items = list(enumerate(data)) if isinstance(data, list) else []
    for key, value in items:
        found |= paths_in(value, (*path, key))
    return found


class Generator:
    """Random TOML in which each key is unique, so that its line can be found by searching."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.count = 0

    def key(self) -> str:
        self.count += 1
        form = self.random.choice(
            ["k{}", '"k{}"', "'k{}'", "k{}-x", '"k{} .=[] #"', '"k{}\\"\\u00e9"']
        )
        return form.format(f"{self.count:05}")

    def keys(self) -> str:
        dot = self.random.choice([".", " . ", "\t."])
        return dot.join(self.key() for _ in range(self.random.choice([1, 1, 1, 2, 3])))

    def gap(self) -> str:
        return self.random.choice(["", " ", "\n", "  # [no] = {table} \"'\n", "\n\n\t"])

    def value(self, depth: int = 0) -> str:
        kinds = (
            ["scalar", "string", "string", "array", "table"] if depth < 3 else ["scalar", "string"]
        )
        match self.random.choice(kinds):
            case "scalar":
                scalars = [
                    "1",
                    "-2.5e3",
                    "true",
                    "1979-05-27T07:32:00Z",
                    "1979-05-27 07:32:00",
                    "inf",
                ]
                return self.random.choice([*scalars, "0xff", "1_000"])
            case "string":
                return self.random.choice(
                    [
                        '"a # b"',
                        "'c:\\'",
                        '""',
                        "''",
                        '"\\"q\\" [x] = {"',
                        '"\\\\"',
                        '"""a\n[no]\nno = 1 \\""" ""\n"""',
                        "'''\nno = 'x'\n''''",
                        '"""a"""""',
                        '"""\\\n  b"""',
                    ]
                )
            case "array":
                items = [self.value(depth + 1) for _ in range(self.random.randrange(4))]
                body = "".join(f"{self.gap()}{item}{self.gap()}," for item in items)
                return f"[{body}{self.gap()}]"
            case _:
                pairs = [self.pair(depth + 1) for _ in range(self.random.randrange(4))]
                body = "".join(f"{self.gap()}{pair}{self.gap()}," for pair in pairs)
                return f"{{{body}{self.gap()}}}"

    def pair(self, depth: int = 0) -> str:
        return f"{self.keys()} = {self.value(depth)}"

    def text(self) -> str:
        lines = [self.pair() for _ in range(self.random.randrange(3))]
        for _ in range(self.random.randrange(6)):
            name = self.keys()
            is_array = self.random.random() < 0.5
            for _ in range(self.random.randint(1, 3) if is_array else 1):
                lines.append(f"[[ {name} ]] # x" if is_array else f" [{name}]")
                lines += [self.pair() for _ in range(self.random.randrange(4))]
                if is_array and self.random.random() < 0.5:
                    lines += [f"[[{name}.stages]]", self.pair(), f"[{name}.saga]", self.pair()]
        return "\n".join(lines) + self.random.choice(["", "\n", "\n# end"])


@pytest.mark.parametrize("seed", range(300))
def test_scan_sees_the_keys_that_tomli_sees_on_their_lines(seed: int):
    text = Generator(seed).text()
    lines = key_lines(text)
    assert set(lines) == paths_in(tomli.loads(text))
    rows = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1].startswith("k"):
            first = next(i for i, row in enumerate(rows, 1) if path[-1][:6] in row)
            assert line == first, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scan_agrees_with_tomli_on_every_mutation_that_is_still_toml(path: Path):
    source = path.read_text()
    dice = random.Random(path.name)
    agreed = 0
    for _ in range(1_500):
        start = dice.randrange(len(source))
        text = (
            source[:start]
            + dice.choice(["", "\n", '"', ".", "#", "[", ","])
            + source[start + dice.randrange(9) :]
        )
        try:
            data = tomli.loads(text)
        except tomli.TOMLDecodeError:
            continue
        assert set(key_lines(text)) == paths_in(data), text
        agreed += 1
    assert agreed > 100


def test_a_key_that_is_not_written_has_the_line_of_the_table_around_it():
    lines = key_lines(
        '[engine]\nx = 1\n\n[[workflows]]\nname = "a"\n[[workflows.stages]]\nname = "b"\n'
    )
    assert line_of(lines, ("workflows", 0, "stages", 0, "agents")) == 6
    assert line_of(lines, ("workflows", 0, "trigger")) == 4
    assert line_of(lines, ("nothing",)) is None
