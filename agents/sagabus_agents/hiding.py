r"""Hiding secrets: what a task was given in secret does not stand in what comes back from it.

Found is a value as it was given, URL-encoded (``%2F``) and escaped as in JSON (``\"``, ``\u00e9``),
however often, and every line of it, since programs write by the line. Not found is what else
was made of it, such as base64 or a digest, and what has less than ``MIN_CHARS`` characters.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, Final

import orjson
import structlog
from structlog.processors import format_exc_info
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from sagabus_agents.errors import error_info
from sagabus_agents.task import Task
from sagabus_agents.wire import ErrorInfo, TaskMessage

#: A shorter secret would be found in half of all words.
MIN_CHARS: Final = 4
#: A longer secret of several lines is looked for by its lines alone.
MAX_WHOLE_CHARS: Final = 4_096
#: An escape that was cut in its middle.
_CUT_ESCAPE: Final = re.compile(r"(?:%|\\).{0,4}\Z")

_TOKEN: Final = re.compile(r"[ \t\r\n\f\v]+|\\+|[A-Za-z0-9]+|.", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z0-9]*")
#: Spaces and line ends come back changed: a line becomes ``\r\n``, or a space.
_SPACE: Final = r"(?:\s|\+|\\+[tnvfr]|(?i:\\+u00(?:0[9a-d]|20)|%(?:25)*(?:0[9a-d]|20)))+"


class _Form:
    """A text that is looked for: a secret, or a line of one."""

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        self.text = text
        #: Letters and digits are the same in every way of writing it.
        self.word = max(_WORD.findall(text), key=len)

    @cached_property
    def pattern(self) -> str:
        """A regular expression of every way of writing it, as one group."""
        # Made only for what is there: of a long secret it takes its time.
        return f"({''.join(map(_atom, _TOKEN.findall(self.text)))})"

    @cached_property
    def atoms(self) -> list[re.Pattern[str]]:
        """The same by pieces that a text can be cut between."""
        pieces = (_cut(token) for token in _TOKEN.findall(self.text))
        return [_compiled(piece) for cut in pieces for piece in cut]


class Hiding:
    """The secrets of one task, and texts without them."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        stripped = ((key, value.strip()) for key, value in secrets.items())
        self._secrets = [_Form(key, text) for key, text in stripped if len(text) >= MIN_CHARS]
        # The longest first: one secret may begin with another.
        self._forms = sorted(
            (form for secret in self._secrets for form in _forms(secret)),
            key=lambda form: -len(form.text),
        )

    def text(self, text: str) -> str:
        """``text`` with ``[secret:KEY]`` in the place of each secret."""
        return _without(text, self._forms)

    def cut_text(self, text: str) -> str:
        """The same of a text that may be cut at either end, in the middle of a secret."""
        # Lines last: they would be taken out of what was cut, and nothing would be at an end.
        text = _without(text, [form for form in self._forms if form in self._secrets])
        for form in self._secrets:
            text = _without_end(_without_start(text, form), form)
        return self.text(text)

    def value(self, value: Any) -> Any:
        """JSON without secrets, in its keys neither; a number that is one becomes text."""
        match value:
            case None | bool():
                return value
            case str():
                return self.text(value)
            case dict():
                return {self._key(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case int() | float():
                shown = str(value)
                keys = (form.key for form in self._secrets if form.text == shown)
                return next(map(_named, keys), value)
            case _:  # in the log alone
                shown = repr(value)
                hidden = self.text(shown)
                return value if hidden == shown else hidden

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key

    def json(self, data: bytes) -> bytes:
        """The same of JSON as it is sent.

        Raises:
            orjson.JSONDecodeError: it is none.
        """
        if not any(form.word.encode() in data for form in self._forms):
            return data
        return orjson.dumps(self.value(orjson.loads(data)))

    def error(self, error: ErrorInfo) -> ErrorInfo:
        """The same of an error, whose message its maker may have cut."""
        return error_info(
            self.text(error.type),
            self.cut_text(error.message),
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
        )

    def event(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """The same of a line of the log; a structlog processor."""
        if event.get("exc_info"):
            # Rendered here: console renderers would show the variables of every frame. As a stack,
            # since they refuse to print an exception that is rendered already.
            event = format_exc_info(logger, method, event)
            event["stack"] = event.pop("exception", None)
        return {self.text(key): self.value(value) for key, value in event.items()}

    def logger(self, named: FilteringBoundLogger) -> FilteringBoundLogger:
        """A logger with the names that ``named`` has bound."""
        *processors, last = structlog.get_config()["processors"]
        hidden: list[Processor] = [*processors, self.event, last]
        logger: FilteringBoundLogger = structlog.wrap_logger(
            None, hidden, logger_factory_args=["sagabus_agents"]
        ).bind(**structlog.get_context(named))
        return logger


class SecretTask(Task):
    """A task whose input gets secrets; it lets none of them out."""

    __slots__ = ("_hidden_log", "hiding")

    def __init__(self, message: TaskMessage) -> None:
        super().__init__(message)
        #: None until the secrets are there.
        self.hiding: Hiding | None = None
        self._hidden_log: FilteringBoundLogger | None = None

    def redeemed(self, message: TaskMessage, secrets: Mapping[str, str]) -> None:
        """Put the message with the ``secrets``, by key, in the place of the one without."""
        self.complete(message)
        self.hiding = Hiding(secrets)

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """See ``Task``."""
        super().progress(fraction, message if self.hiding is None else self.hiding.text(message))

    @property
    def log(self) -> FilteringBoundLogger:
        """See ``Task``."""
        if self.hiding is None:
            return super().log
        if self._hidden_log is None:
            self._hidden_log = self.hiding.logger(super().log)
        return self._hidden_log


def hiding_of(task: Task) -> Hiding | None:
    """What is to be hidden in all that comes from ``task``; None: nothing."""
    return task.hiding if isinstance(task, SecretTask) else None


def _forms(secret: _Form) -> Iterator[_Form]:
    lines = dict.fromkeys(line.strip() for line in secret.text.splitlines())
    long = [line for line in lines if len(line) >= MIN_CHARS and line != secret.text]
    if len(secret.text) <= MAX_WHOLE_CHARS or not long:
        yield secret
    yield from (_Form(secret.key, line) for line in long)


def _named(key: str) -> str:
    return f"[secret:{key}]"


def _atom(token: str) -> str:
    """A pattern of every form of a piece of a secret."""
    first = token[0]
    if first.isascii() and first.isalnum():
        return token
    if first in " \t\r\n\f\v":
        return _SPACE
    data, units = token.encode(errors="surrogatepass"), token.encode("utf-16-be", "surrogatepass")
    quoted = "".join(f"%(?:25)*{_hex(data[at : at + 1])}" for at in range(len(data)))
    escaped = "".join(rf"\\+u{_hex(units[at : at + 2])}" for at in range(0, len(units), 2))
    if first == "\\":
        plain = rf"\\{{{len(token)},}}"
    elif first in "\"'/":
        plain = rf"\\*{first}"
    else:
        plain = re.escape(token)
    return f"(?:{plain}|{quoted}|{escaped})"


def _hex(data: bytes) -> str:
    return "".join(one if one.isdigit() else f"[{one}{one.upper()}]" for one in data.hex())


@lru_cache(512)
def _compiled(piece: str) -> re.Pattern[str]:
    return re.compile(_atom(piece))


def _cut(token: str) -> Iterator[str]:
    """The pieces that a text can be cut between."""
    if token[0].isascii() and token[0].isalnum():
        yield from token
    else:
        yield token


def _without(text: str, forms: list[_Form]) -> str:
    there = [form for form in forms if form.word in text]
    if not there:
        return text
    pattern = "|".join(form.pattern for form in there)
    return re.sub(pattern, lambda found: _named(there[(found.lastindex or 1) - 1].key), text)


def _without_end(text: str, form: _Form) -> str:
    """``text`` without the beginning of a secret, at least ``MIN_CHARS`` of it, at its end."""
    for start in range(len(text) - MIN_CHARS + 1):
        if not form.atoms[0].match(text, start):
            continue
        at, found = start, 0
        for atom in form.atoms:
            match = atom.match(text, at)
            if match is None:
                break
            at, found = match.end(), found + 1
        is_at_end = at == len(text) or _CUT_ESCAPE.match(text, at)
        if found >= MIN_CHARS and is_at_end:
            return text[:start] + _named(form.key)
    return text


def _without_start(text: str, form: _Form) -> str:
    """``text`` without the end of a secret, at least ``MIN_CHARS`` of it, at its start."""
    for first in range(1, len(form.atoms) - MIN_CHARS + 1):
        at = 0
        for number in range(first, len(form.atoms)):
            match = form.atoms[number].match(text, at)
            if match is None:
                break
            at = match.end()
        else:
            return _named(form.key) + text[at:]
    return text
