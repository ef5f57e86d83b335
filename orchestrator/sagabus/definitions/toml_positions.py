"""On which line each key of a TOML text stands, which tomli does not tell.

A light scan of a text that tomli accepts, too: it finds keys and leaves values alone.
Held to tomli by a property test: both see the same keys.
"""

import re
from bisect import bisect_right

import tomli

from sagabus.definitions.source_file import MAX_DEPTH, MAX_NODES, KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = r'"(?:[^"\\\n]|\\.)*"'
_LITERAL = r"'[^'\n]*'"
_QUOTED_KEY = re.compile(f"{_BASIC}|{_LITERAL}")
#: A multi-line string may end in up to two quotes of its own, before the closing three.
_STRING = re.compile(
    rf'"""(?:[^\\]|\\.)*?"""(?:"{{0,2}})|\'\'\'.*?\'\'\'(?:\'{{0,2}})|{_BASIC}|{_LITERAL}',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


class TooManyKeysError(Exception):
    """There are more than ``MAX_NODES`` keys and elements."""


class DepthError(Exception):
    """Tables and arrays are nested more than ``MAX_DEPTH`` deep."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(line)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) where each key, table and array element of ``text`` first appears.

    Raises:
        TooManyKeysError: it has more of them than a file may have.
        DepthError: it is nested more deeply than a file may be.
        ValueError: it is not TOML; so is ``IndexError``. Of much that is no TOML it says nothing.
    """
    scan = _Scan(text)
    scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        #: Number of elements seen of each array of tables.
        self._counts: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text[self.pos] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        start = self.pos
        is_array = self.text.startswith("[[", start)
        self.pos += 2 if is_array else 1
        keys = self._keys()
        self.pos += 2 if is_array else 1
        path: KeyPath = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            self._record(path, start)
            if is_array and number == len(keys):
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
                self._record(path, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self.pos
        path = table
        for key in self._keys():
            path = (*path, key)
            self._record(path, start)
        self.pos += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            quoted = _QUOTED_KEY.match(self.text, self.pos)
            match = quoted or _BARE_KEY.match(self.text, self.pos)
            if match is None:
                raise ValueError(f"no key at offset {self.pos}: the text is not TOML")
            keys.append(tomli.loads(f"k = {match[0]}")["k"] if quoted else match[0])
            self.pos = match.end()
            self._skip(_SPACE)
            if not self.text.startswith(".", self.pos):
                return keys
            self.pos += 1

    def _value(self, path: KeyPath) -> None:
        if self.text[self.pos] in "[{":
            self._collection(path)
            return
        match = _STRING.match(self.text, self.pos) or _SCALAR.match(self.text, self.pos)
        if match is None:
            raise ValueError(f"no value at offset {self.pos}: the text is not TOML")
        self.pos = match.end()

    def _collection(self, path: KeyPath) -> None:
        is_array = self.text[self.pos] == "["
        self.pos += 1
        index = 0
        while self.text[self._skip(_BLANK)] not in "]}":
            if self.text[self.pos] == ",":
                self.pos += 1
            elif is_array:
                self._record((*path, index), self.pos)
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
        self.pos += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
        return self.pos

    def _record(self, path: KeyPath, offset: int) -> None:
        line = bisect_right(self._newlines, offset - 1) + 1
        if len(path) > MAX_DEPTH:
            raise DepthError(line)
        self.lines.setdefault(path, line)
        if len(self.lines) > MAX_NODES:
            raise TooManyKeysError
