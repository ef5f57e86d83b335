"""Settings of the orchestrator: flags win over ``SAGABUS_*`` variables, these over the defaults."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from sagabus.errors import SettingsError

DEFAULT_HTTP: Final = "127.0.0.1:8420"
DEFAULT_DATA_DIR: Final = Path(".sagabus")
DEFAULT_CONFIG: Final = Path("config/workflows.toml")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

#: Environment variable of each setting.
VARIABLES: Final[Mapping[str, str]] = {
    "config": "SAGABUS_CONFIG",
    "data_dir": "SAGABUS_DATA",
    "http": "SAGABUS_HTTP",
    "nats_url": "SAGABUS_NATS_URL",
    "surreal_url": "SAGABUS_SURREAL_URL",
    "surreal_user": "SAGABUS_SURREAL_USER",
    "surreal_password": "SAGABUS_SURREAL_PASSWORD",
    "surreal_namespace": "SAGABUS_SURREAL_NAMESPACE",
    "surreal_database": "SAGABUS_SURREAL_DATABASE",
    "partitions": "SAGABUS_PARTITIONS",
    "max_deliver": "SAGABUS_MAX_DELIVER",
    "connect_timeout_s": "SAGABUS_CONNECT_TIMEOUT",
    "log_level": "SAGABUS_LOG_LEVEL",
    "log_format": "SAGABUS_LOG_FORMAT",
    "notice_after_s": "SAGABUS_NOTICE_AFTER",
    "notice_url": "SAGABUS_NOTICE_URL",
    "secret_key": "SAGABUS_SECRET_KEY",
    "secret_key_file": "SAGABUS_SECRET_KEY_FILE",
}

#: What is said once, of one start: a variable would stay, and say it of every one.
_FLAGS_ONLY: Final = ("after_restore", "paused_by")

_NATS_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_SURREAL_SCHEMES: Final = ("ws", "wss", "surrealkv", "mem")


class Settings(BaseModel):
    """Everything that is decided before the orchestrator starts; a reload changes none of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    #: The workflows file.
    config: Path = DEFAULT_CONFIG
    #: Where the embedded database, the managed NATS server and ``endpoints.json`` live.
    data_dir: Path = DEFAULT_DATA_DIR
    #: ``HOST:PORT`` of the API, loopback only; port 0 takes a free one.
    http: str = DEFAULT_HTTP
    #: Servers of an external NATS, separated by commas; None: a managed child. May hold a password.
    nats_url: str | None = Field(default=None, repr=False)
    #: ``ws://``, ``wss://`` or ``surrealkv://``; None: embedded, in ``data_dir``.
    surreal_url: str | None = Field(default=None, repr=False)
    surreal_user: str | None = None
    surreal_password: SecretStr | None = None
    surreal_namespace: str = "sagabus"
    surreal_database: str = "sagabus"
    #: Fixed when the streams are created; later it must stay the same.
    partitions: int = Field(default=4, ge=1, le=256)
    #: Deliveries of one attempt before it fails with ``agent_lost``.
    max_deliver: int = Field(default=10, ge=1, le=1000)
    #: How long a missing database or bus is waited for at start.
    connect_timeout_s: float = Field(default=30.0, ge=0, le=3600)
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    #: What secrets are encrypted with: 32 bytes in base64, given itself or in a file. Neither: a
    #: key in ``data_dir`` for an embedded database; no secrets on a server.
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    #: How long an instance stands still before somebody is told of it.
    notice_after_s: float = Field(default=900.0, gt=0, le=30 * 86_400)
    #: Where that is posted; it may hold a token.
    notice_url: SecretStr | None = None
    #: The database was restored from a backup, and is to be gone on from.
    after_restore: bool = False
    #: Who wants everything paused before anything is sent; None: nobody.
    paused_by: str | None = None

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> "Settings":
        """Merge flags (None: not given) and ``SAGABUS_*`` variables (empty: not given).

        Raises:
            SettingsError: a value cannot be used; names the flag or variable it came from.
        """
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for name in (*VARIABLES, *_FLAGS_ONLY):
            variable = VARIABLES.get(name, "")
            if (flag := flags.get(name)) is not None:
                values[name], origin[name] = flag, f"--{_flag_name(name)}"
            elif environ.get(variable, "").strip():
                values[name], origin[name] = environ[variable], variable
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError(_one_sentence(error, origin)) from None

    def with_changes(self, changes: Mapping[str, Any]) -> "Settings":
        """These settings with others in place of some; None changes nothing.

        Raises:
            SettingsError: a value cannot be used.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if not given:
            return self
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return Settings(**{**kept, **given})
        except ValidationError as error:
            raise SettingsError(_one_sentence(error, {name: name for name in given})) from None

    @field_validator("http")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        parse_http(value)
        return value

    @field_validator("nats_url")
    @classmethod
    def _known_nats_scheme(cls, value: str | None) -> str | None:
        for server in (value or "").split(","):
            if server and "://" in server and urlsplit(server).scheme not in _NATS_SCHEMES:
                raise ValueError(f"{_without_secret(server)!r} is not a nats:// or tls:// address")
        return value

    @field_validator("notice_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("no http:// or https:// address")
        return value

    @field_validator("surreal_url")
    @classmethod
    def _known_surreal_scheme(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if value.partition("://")[0] not in _SURREAL_SCHEMES:
            raise ValueError(
                f"{_without_secret(value)!r} is not a ws://, wss:// or surrealkv:// address"
            )
        if _without_secret(value) != value:
            raise ValueError(
                "give user and password with SAGABUS_SURREAL_USER and SAGABUS_SURREAL_PASSWORD,"
                " not in the address, which is shown"
            )
        return value

    @property
    def store_url(self) -> str:
        """The database's address; the embedded one in ``data_dir`` unless another was given."""
        return self.surreal_url or f"surrealkv://{self.data_dir / 'db'}"

    @property
    def nats_address(self) -> str:
        """The bus's address as it may be shown: without a password."""
        servers = (self.nats_url or "managed nats-server").split(",")
        return ",".join(_without_secret(server.strip()) for server in servers)

    @property
    def http_host(self) -> str:
        """Host part of ``http``."""
        return parse_http(self.http)[0]

    @property
    def http_port(self) -> int:
        """Port part of ``http``; 0 takes a free one."""
        return parse_http(self.http)[1]


def parse_http(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` (``[::1]:PORT`` for IPv6).

    Raises:
        ValueError: not of that form, or not a loopback address.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, such as {DEFAULT_HTTP}")
    if not is_loopback(host):
        raise ValueError(
            f"{address} is not a loopback address: without authentication the API listens on"
            " 127.0.0.1, [::1] or localhost only"
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_secret(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _flag_name(name: str) -> str:
    return {"data_dir": "data", "connect_timeout_s": "connect-timeout"}.get(
        name, name.replace("_", "-")
    )


def _one_sentence(error: ValidationError, origin: Mapping[str, str]) -> str:
    # The input is never repeated: it may be a password.
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0])
        reason = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{origin.get(name, name)}: {reason}")
    return "; ".join(problems)
