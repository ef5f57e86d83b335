"""The YAML reader: what scalars mean, where keys stand, and that no file takes it down."""

# Tables of one case per line read better unbroken.
# ruff: noqa: E501

import random
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml

from sagabus.definitions.source_file import MAX_FILE_BYTES
from sagabus.definitions.yaml_file import MAX_DEPTH, parse_yaml, read_yaml
from sagabus.errors import ConfigError, InvalidConfigError

ATTUNE = Path(__file__).parents[2] / "cases/attune"
FILE = Path("f.yaml")


def data_of(text: str) -> Any:
    [document] = parse_yaml(text, FILE)
    return document.data


def refusals(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, FILE)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-1", -1), ("+5", 5), ("0", 0), ("0x1F", 31), ("0o17", 15),
        ("007", "007"), ("0644", "0644"), ("1_000", "1_000"), ("1:30", "1:30"), ("12:30:45", "12:30:45"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-2", -0.015), ("1.2.3", "1.2.3"), ("1.", 1.0),
        ("2020-01-01", "2020-01-01"), ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ('"12"', "12"), ("'true'", "true"), ("!!str 12", "12"), ("! 12", "12"), ('!!int "12"', 12), ("!!float 3", 3.0),
        ("<<", "<<"), ("=", "="), ("[yes, 1]", ["yes", 1]), ("{yes: on}", {"yes": "on"}),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
    ],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_2_says_and_the_doubtful_is_text(written: str, value: object):
    read = data_of(f"k: {written}")["k"]
    assert (read, type(read)) == (value, type(value))


def test_numbers_that_json_does_not_have_are_for_the_models_to_refuse():
    read = data_of("[.inf, -.inf, .nan]")
    assert [str(one) for one in read] == ["inf", "-inf", "nan"]


def test_keys_are_text_whatever_they_look_like():
    assert data_of("on: 1\nyes: 2\n1: 3\n1.0: 4\nnull: 5\ntrue: 6\n2020-01-01: 7") == {
        "on": 1, "yes": 2, "1": 3, "1.0": 4, "null": 5, "true": 6, "2020-01-01": 7,
    }  # fmt: skip


def test_a_key_that_is_text_keeps_what_was_written():
    [document] = parse_yaml(
        "version: 1.10\nother: 1.10\nt: {version: 1.10}", FILE, frozenset({"version"})
    )
    assert document.data == {"version": "1.10", "other": 1.1, "t": {"version": 1.1}}


def test_documents_are_read_one_by_one_with_lines_of_their_own():
    first, empty, second = parse_yaml("# x\na: 1\n---\n---\n\nb:\n  - 1\n  - c: 2\n", FILE)
    assert (first.data, empty.data, second.data) == ({"a": 1}, None, {"b": [1, {"c": 2}]})
    assert first.lines == {(): 2, ("a",): 2}
    assert second.lines == {(): 6, ("b",): 6, ("b", 0): 7, ("b", 1): 8, ("b", 1, "c"): 8}


def test_an_alias_stands_where_it_is_used():
    [document] = parse_yaml("a: &x {k: [1, 2]}\nb:\n  - *x\n  - *x\nc: 3", FILE)
    assert document.data == {"a": {"k": [1, 2]}, "b": [{"k": [1, 2]}, {"k": [1, 2]}], "c": 3}
    assert document.lines[("b", 1)] == 4
    assert ("b", 1, "k") not in document.lines, "the nearest line above is the alias's own"


def test_merged_tables_give_what_is_not_written_itself():
    text = (
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\nd:\n  <<: *a\n  x: 4\n"
    )
    [document] = parse_yaml(text, FILE)
    assert document.data["c"] == {"z": 3, "x": 1, "y": 1}
    assert document.data["d"] == {"x": 4, "y": 1}
    assert (document.lines[("c", "y")], document.lines[("d", "x")]) == (5, 8)
    assert data_of('{"<<": 1}') == {"<<": 1}, "in quotes it is a key like any other"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", ["f.yaml:3: `a` is written twice in one table; first at line 1"]),
        ("a: {b: 1,\n b: 2}\nc: !x 1", ["f.yaml:2: `b` is written twice in one table; first at line 1", "f.yaml:3: the tag !x means nothing here; leave it out"]),
        ("a: !!python/object/apply:os.system [ls]", ["f.yaml:1: the tag !!python/object/apply:os.system means nothing here; leave it out"]),
        ("a: !!binary aGk=", ["f.yaml:1: the tag !!binary means nothing here; leave it out"]),
        ("a: !!int x", ["f.yaml:1: 'x' is not what its tag !!int says; leave the tag out"]),
        ("a: !!int true", ["f.yaml:1: 'true' is not what its tag !!int says; leave the tag out"]),
        ("a: *b", ["f.yaml:1: the alias *b is not defined above"]),
        ("a: &a [*a]", ["f.yaml:1: the alias *a contains itself"]),
        ("x: &a 1\n---\nx: *a", ["f.yaml:3: the alias *a is not defined above"]),
        ("a: 99999999999999999999", ["f.yaml:1: 99999999999999999999 does not fit into 64 bits; write it as text, in quotes"]),
        ("a: " + "9" * 100_000, [f"f.yaml:1: {'9' * 37}... does not fit into 64 bits; write it as text, in quotes"]),
        ("<<: 1", ["f.yaml:1: `<<` merges tables; write <<: *name, or <<: [*one, *two]"]),
        ("input:\n  x: {{ parameters.x }}", ['f.yaml:2: a key is one text; write an expression in quotes: "{{ ... }}"']),
        ("a: {{ x }} == 1\nb: 2", ['f.yaml:1: a key is one text; write an expression in quotes: "{{ ... }}"']),
        ("[a]: 1", ["f.yaml:1: a key is one text"]),
        ("a:\n\tb: 1", ["f.yaml:2: not valid YAML: found character that cannot start any token; indent with spaces, not with tabs"]),
        ("a: b: c", ["f.yaml:1: not valid YAML: mapping values are not allowed in this context; write text with a colon in quotes, or check the indentation"]),
        ("a: [1,\nb: 2", ["f.yaml:2: not valid YAML: did not find expected ',' or ']', in what begins at line 1"]),
        ('a: "x', ["f.yaml:1: not valid YAML: found unexpected end of stream"]),
        ("a: 1\nb: \x07", ["f.yaml:2: not valid YAML: the character '\\x07' cannot stand in it"]),
        ("a: \ud800", ["f.yaml:1: not valid YAML: the character '\\ud800' cannot stand in it"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_its_remedy(text: str, said: list[str]):
    assert refusals(text) == said


def bomb() -> str:
    """Nine aliases to nine aliases to ...: 9**12 values in 900 characters."""
    lines = ["a0: &a0 [lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 13)]
    return "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [
        f"a{n}: &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)
    ]
    return "\n".join(lines)


def tower() -> str:
    """Each anchor one level higher than the one before, without any text being nested."""
    return "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3_000))])


HOSTILE = {
    "billion laughs": (bomb(), "more than 50000 values, with every alias written out"),
    "merged laughs": (merge_bomb(), "more than 50000 values, with every alias written out"),
    "repeated text": (f"a: &a {'x' * 500_000}\nb: [{'*a, ' * 100}]", "more than 50000 values"),
    "tower of aliases": (tower(), f"nested more than {MAX_DEPTH} deep"),
    "many values": ("- 1\n" * 60_000, "more than 50000 values"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(60_000)), "more than 50000 values"),
    "many documents": ("--- 1\n" * 60_000, "more than 50000 values"),
    "deep lists": ("[" * 500_000, f"nested more than {MAX_DEPTH} deep"),
    "deep tables": ("{a: " * 200_000, f"nested more than {MAX_DEPTH} deep"),
    "deep dashes": ("- " * 500_000, f"nested more than {MAX_DEPTH} deep"),
    "deep questions": ("? " * 500_000, "a key is one text"),
    "indented ever more": ("".join(f"{' ' * n}k:\n" for n in range(1_400)), f"nested more than {MAX_DEPTH} deep"),
    "one long line": ("a: '" + "x" * 1_000_000, "not valid YAML"),
    "one long key": ("x" * 1_000_000 + ": 1", "not valid YAML"),
    "one long anchor": ("&" + "x" * 1_000_000, None),
    "many tags": ("- !x 1\n" * 20_000, "the tag !x means nothing here"),
    "nothing but lines": ("\n" * 1_000_000, None),
    "python": ("!!python/object/new:os._exit [1]", "the tag !!python/object/new:os._exit means nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_within_a_second(name: str):
    text, said = HOSTILE[name]
    begun = perf_counter()
    if said is None:
        parse_yaml(text, FILE)
    else:
        assert said in refusals(text)[0]
    assert perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: 1\n" * 20_000_000, f"larger than {MAX_FILE_BYTES} bytes; split it into several files"),
        (b"a: 1\nb: \xff\xfe", "not UTF-8 text; save it as UTF-8"),
        (bytes(range(256)) * 100, "not UTF-8 text; save it as UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "not valid YAML: the character '\\x7f' cannot stand in it"),
        ("a: 1".encode("utf-16"), "not UTF-8 text; save it as UTF-8"),
    ],
    ids=["100 MB", "latin", "bytes", "binary", "utf-16"],
)  # fmt: skip
def test_a_file_that_is_no_text_is_refused_within_a_second(tmp_path: Path, raw: bytes, said: str):
    path = tmp_path / "f.yaml"
    path.write_bytes(raw)
    begun = perf_counter()
    with pytest.raises(ConfigError, match=r"f\.yaml") as caught:
        read_yaml(path)
    assert perf_counter() - begun < 1
    assert caught.value.message == said


def test_many_mistakes_are_told_up_to_a_number():
    with pytest.raises(InvalidConfigError) as caught:
        parse_yaml("- !x 1\n" * 20_000, FILE)
    assert len(caught.value.problems) == 50


# --- positions ----------------------------------------------------------------------------------


def marks_of(node: yaml.Node, path: tuple = ()) -> dict[tuple, int]:
    """Where PyYAML's own composer, written in Python, saw each key and element."""
    found = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            found[here] = key.start_mark.line + 1
            found |= marks_of(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*path, index)] = value.start_mark.line + 1
            found |= marks_of(value, (*path, index))
    return found


def assert_agrees(text: str) -> None:
    documents = parse_yaml(text, FILE)
    nodes = list(yaml.compose_all(text, yaml.SafeLoader))
    assert len(documents) == len(nodes)
    for document, node in zip(documents, nodes, strict=True):
        lines = dict(document.lines)
        begun = lines.pop(())
        assert node.value == "" or begun == node.start_mark.line + 1  # nothing stands nowhere
        assert lines == marks_of(node), text


class Generator:
    """Random YAML in all its ways of writing; each key is unique."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.count = 0

    def key(self) -> str:
        self.count += 1
        return self.random.choice(["k{}", '"k {}"', "'k: {}'", "on{}", "k-{}"]).format(self.count)

    def scalar(self) -> str:
        self.count += 1
        return self.random.choice(
            ["1", "-2.5", "true", "null", "on", "some text", "'it''s'", '"a\\n # b"', '"a\n\n  b"', "!!str 5", "&x{} y"]
        ).format(self.count)  # fmt: skip

    def flow(self, depth: int) -> str:
        gap = self.random.choice(["", " ", "\n   ", " # no: [key]\n   "])
        match self.random.choice(["scalar", "list", "table"] if depth < 3 else ["scalar"]):
            case "list":
                items = [self.flow(depth + 1) for _ in range(self.random.randrange(4))]
                return f"[{gap}{f', {gap}'.join(items)}{gap}]"
            case "table":
                pairs = [
                    f"{self.key()}: {self.flow(depth + 1)}" for _ in range(self.random.randrange(4))
                ]
                return f"{{{gap}{f', {gap}'.join(pairs)}{gap}}}"
            case _:
                return self.random.choice(["1", "on", "'x y'", '"z"', "null"])

    def block(self, indent: int, depth: int) -> str:
        """What stands behind a key or a dash, its first line break included."""
        pad = " " * indent
        kinds = ["scalar", "scalar", "flow", "text", "nothing"] + ["table", "list"] * 2 * (
            depth < 4
        )
        match self.random.choice(kinds):
            case "table":
                return "\n" + "".join(
                    self.pair(indent, depth) for _ in range(self.random.randint(1, 4))
                )
            case "list":
                return "\n" + "".join(
                    self.item(indent, depth) for _ in range(self.random.randint(1, 4))
                )
            case "flow":
                return f" {self.flow(0)}\n"
            case "text":
                mark = self.random.choice(["|", ">", "|-", ">+"])
                return f" {mark}\n{pad}text: [no] # key\n\n{pad}- more\n"
            case "nothing":
                return "\n"
            case _:
                return f" {self.scalar()}\n"

    def pair(self, indent: int, depth: int) -> str:
        comment = self.random.choice(["", "", "\n", "# no: key\n"])
        return f"{comment}{' ' * indent}{self.key()}:{self.block(indent + 2, depth + 1)}"

    def item(self, indent: int, depth: int) -> str:
        pad = " " * indent
        if depth < 4 and self.random.random() < 0.4:
            rest = "".join(
                self.pair(indent + 2, depth + 1) for _ in range(self.random.randrange(3))
            )
            return f"{pad}- {self.key()}:{self.block(indent + 4, depth + 1)}{rest}"
        return f"{pad}-{self.block(indent + 2, depth + 1)}"

    def text(self) -> str:
        documents = [
            "".join(self.pair(0, 0) for _ in range(self.random.randint(1, 5)))
            for _ in range(self.random.choice([1, 1, 2, 3]))
        ]
        return self.random.choice(["", "# top\n", "---\n"]) + "---\n".join(documents)


@pytest.mark.parametrize("seed", range(250))
def test_every_line_agrees_with_the_marks_of_pyyaml(seed: int):
    assert_agrees(Generator(seed).text())


@pytest.mark.parametrize("path", sorted(ATTUNE.glob("*.yaml")), ids=lambda path: path.name)
def test_lines_of_the_seeds_agree_with_the_marks_of_pyyaml(path: Path):
    assert_agrees(path.read_text())


def test_lines_of_mutations_that_are_still_yaml_agree_with_the_marks_of_pyyaml():
    rows = (ATTUNE / "features.yaml").read_text().split("\n")
    dice = random.Random("mutations")
    agreed = 0
    for _ in range(700):
        begin = dice.randrange(len(rows) - 15)
        source = "\n".join(rows[begin : begin + 15])
        start = dice.randrange(len(source))
        change = dice.choice(["", "\n", " ", "'", '"', ": ", "- ", "[", "{", "# ", "|\n", "---\n"])
        text = source[:start] + change + source[start + dice.randrange(6) :]
        try:
            parse_yaml(text, FILE)
            assert_agrees(text)
        except (ConfigError, yaml.YAMLError):
            continue
        agreed += 1
    assert agreed > 50
