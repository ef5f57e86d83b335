"""Damages files as people, editors and attackers do, the same way for the same seed."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

ROOT: Final = Path(__file__).parents[3]
_GUIDE: Final = ROOT / "docs" / "workflow-language.md"

#: What is put in where text stands.
NASTY: Final = (
    *("\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "\ufffe"),
    *(
        "\U0001f4a9",
        "\u0455tages",
        "name",
        "\t",
        "\r",
        "\r\n",
        "\n\n",
        "'",
        '"',
        '"""',
        "'''",
        "\\",
    ),
    *('"\\u001b[31m" = 1\n', '"\\u202ex": 1\n', "\\u001b]0;x\\u0007", "\\u009b", '"\u202e" = 1\n'),
    *("{{", "}}", "{%", "%}", "{#", "{{ 7*7 }}", "{{ kv.get_secret('x') }}", "{% raw %}", "#"),
    *("[", "]", "{", "}", "[[", "]]", "=", ":", ": ", "- ", "? ", "| ", "> ", "&a ", "*a ", "<<: "),
    *("!!python/object/apply:os.system [x] ", "!!binary ", "!x ", "%YAML 9.9\n", "---\n", "...\n"),
    *("a.b.c.d = 1\n", "[engine]\n", "[[workflows]]\n", "[[workflows.stages]]\n", "null", "~"),
    *("9" * 30, "9" * 5_000, "-1", "1e999", "nan", "inf", "0x" + "f" * 40, "1979-05-27T07:32:00Z"),
    *("x" * 100_000, "a." * 200, "[" * 200, "{a: " * 100, "(" * 300, "../" * 20, "/dev/zero"),
)
#: What a value becomes.
VALUES: Final = (
    *("1", "0", "-1", "1.5", "true", "null", '""', "[]", "{}", '["x"]', '"x"', '"{{ item }}"'),
    *(
        "[[[]]]",
        '{when = "{{ x }}", do = "end"}',
        "9223372036854775808",
        "1e400",
        '"end"',
        '"fail"',
    ),
    *('"\\u001b[31mred"', '"{{ \u202e }}"', '"\u202elanretni"', '["\\u0007"]', '"\\n\\nok"'),
    *('"all"', '"90s"', '"{{ task.a.result }}"', '"{{ 1 / 0 }}"', '"core.sleep"', '["end", "end"]'),
)
_KEY: Final = re.compile(r"^(\s*-?\s*)([A-Za-z_]+)(\s*[:=]\s*)(.*)$")


def sources() -> list[tuple[str, str]]:
    """Well-formed files: how each ends, and its text."""
    found = [(".toml", (ROOT / "config" / "workflows.toml").read_text(encoding="utf-8"))]
    for language, text in re.findall(
        r"```(toml|yaml)\n(.*?)```", _GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        found.append((f".{language}", text))
    for directory in ("cases", "corpus"):
        for path in sorted((ROOT / "tests" / directory).rglob("*")):
            if path.suffix in {".toml", ".yaml"} and ".test." not in path.name:
                found.append((path.suffix, path.read_text(encoding="utf-8")))
    return found


def mutated(text: str, random: Random) -> bytes:
    """``text`` with one to four things wrong."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        text = random.choice(_TEXT_MUTATIONS)(text, random)
    raw = text.encode("utf-8", "surrogatepass")
    return random.choice(_BYTE_MUTATIONS)(raw, random) if random.random() < 0.15 else raw


def _on_lines(change: Callable[[list[str], int, Random], None]) -> Callable[[str, Random], str]:
    def changed(text: str, random: Random) -> str:
        lines = text.split("\n")
        change(lines, random.randrange(len(lines)), random)
        return "\n".join(lines)

    return changed


@_on_lines
def _delete(lines: list[str], at: int, random: Random) -> None:
    del lines[at : at + random.choice((1, 1, 2, 10))]


@_on_lines
def _duplicate(lines: list[str], at: int, random: Random) -> None:
    lines[at:at] = lines[at : at + random.choice((1, 3, 10))] * random.choice((1, 1, 50))


@_on_lines
def _swap(lines: list[str], at: int, random: Random) -> None:
    other = random.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


@_on_lines
def _indent(lines: list[str], at: int, random: Random) -> None:
    lines[at] = random.choice((" ", "  ", "\t", " " * 80)) + lines[at]


@_on_lines
def _unindent(lines: list[str], at: int, random: Random) -> None:
    lines[at] = lines[at].lstrip()


def _on_keys(change: Callable[[re.Match[str], Random], str]) -> Callable[[str, Random], str]:
    def changed(text: str, random: Random) -> str:
        lines = text.split("\n")
        keys = [(at, found) for at, line in enumerate(lines) if (found := _KEY.match(line))]
        if keys:
            at, found = random.choice(keys)
            lines[at] = change(found, random)
        return "\n".join(lines)

    return changed


@_on_keys
def _rename(found: re.Match[str], random: Random) -> str:
    before, key, between, value = found.groups()
    names = (
        f"{key}s",
        key[:-1],
        key.upper(),
        "",
        key * 100,
        f'"{key}\\n"',
        f'"\\u001b{key}"',
        "name",
        "__class__",
    )
    return f"{before}{random.choice(names)}{between}{value}"


@_on_keys
def _retype(found: re.Match[str], random: Random) -> str:
    before, key, between, _ = found.groups()
    return f"{before}{key}{between}{random.choice(VALUES)}"


@_on_keys
def _wrap(found: re.Match[str], random: Random) -> str:
    before, key, between, value = found.groups()
    opened, closed = random.choice((("[", "]"), ("{a = ", "}"), ("{a: ", "}"), ('"', '"')))
    times = random.choice((1, 2, 30, 100))
    return f"{before}{key}{between}{opened * times}{value}{closed * times}"


def _insert(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(NASTY) + text[at:]


def _replace_word(text: str, random: Random) -> str:
    words = list(re.finditer(r"[A-Za-z_]+", text))
    if not words:
        return text
    one, other = random.choice(words), random.choice(words)
    return text[: one.start()] + other[0] + text[one.end() :]


def _truncate(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def _repeat(text: str, random: Random) -> str:
    return text * random.choice((2, 2, 20))


def _line_ends(text: str, random: Random) -> str:
    return text.replace("\n", random.choice(("\r\n", "\r", "\n\n", "\x85")))


def _flip(raw: bytes, random: Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(random.choice((1, 1, 5, 50))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(raw: bytes, random: Random) -> bytes:
    return raw[: random.randrange(len(raw) + 1)]


def _encode(raw: bytes, random: Random) -> bytes:
    text = raw.decode("utf-8", "replace")
    codec = random.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32"))
    return text.encode(codec, "replace")


_TEXT_MUTATIONS: Final = (
    *(_delete, _duplicate, _swap, _indent, _unindent, _rename, _retype, _retype, _retype, _wrap),
    *(_insert, _insert, _replace_word, _replace_word, _truncate, _repeat, _line_ends),
)
_BYTE_MUTATIONS: Final = (_flip, _flip, _cut, _encode)
