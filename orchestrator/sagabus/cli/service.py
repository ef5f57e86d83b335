"""Commands that run or examine an installation: up, migrate, validate, doctor, bench and such.

Only their options are here. The bodies import the engine, which takes most of a second, and are
loaded when they run: `sagabus list` should not pay for it.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from sagabus.cli.options import Json, Url, who
from sagabus.errors import SettingsError
from sagabus.settings import DEFAULT_CONFIG, DEFAULT_DATA_DIR, DEFAULT_HTTP, VARIABLES, Settings

app = typer.Typer()

#: What ``up`` decides by itself, whatever the environment says for other programs.
_MANAGED: Final = frozenset({"SAGABUS_NATS_URL", "SAGABUS_SURREAL_URL"})


def _option(name: str, metavar: str, text: str) -> Any:
    flag, setting = (
        name,
        VARIABLES[
            {"data": "data_dir", "connect-timeout": "connect_timeout_s"}.get(
                name, name.replace("-", "_")
            )
        ],
    )
    return typer.Option(f"--{flag}", metavar=metavar, help=f"{text} (${setting})")


Config = Annotated[
    str | None,
    _option("config", "FILE", f"Workflows file; default: {DEFAULT_CONFIG}, else the one shipped."),
]
Data = Annotated[
    str | None,
    _option("data", "DIR", f"Directory for database, bus and lock; default: {DEFAULT_DATA_DIR}."),
]
Http = Annotated[
    str | None,
    _option(
        "http",
        "HOST:PORT",
        f"Where the API listens, loopback only; port 0: a free one; default: {DEFAULT_HTTP}.",
    ),
]
LogLevel = Annotated[
    str | None, _option("log-level", "LEVEL", "debug, info, warning or error; default: info.")
]
LogFormat = Annotated[
    str | None,
    _option("log-format", "FORMAT", "json, console, or auto: console on a terminal (default)."),
]
ConnectTimeout = Annotated[
    str | None,
    _option("connect-timeout", "SECONDS", "How long to wait for database and bus; default: 30."),
]
NatsUrl = Annotated[
    str | None, _option("nats-url", "URL", "NATS servers with JetStream, separated by commas.")
]
SurrealUrl = Annotated[
    str | None,
    _option(
        "surreal-url",
        "URL",
        "ws://HOST:PORT/rpc, wss://..., or surrealkv://PATH; default: embedded, in the data"
        " directory.",
    ),
]
SurrealUser = Annotated[
    str | None,
    _option("surreal-user", "NAME", "The password comes from $SAGABUS_SURREAL_PASSWORD."),
]
Namespace = Annotated[str | None, _option("surreal-namespace", "NAME", "Default: sagabus.")]
Database = Annotated[str | None, _option("surreal-database", "NAME", "Default: sagabus.")]
Partitions = Annotated[
    str | None,
    _option("partitions", "N", "Fixed when the streams are first created; default: 4."),
]
MaxDeliver = Annotated[
    str | None,
    _option("max-deliver", "N", "Deliveries of an attempt before it counts as lost; default: 10."),
]


AfterRestore = Annotated[
    bool,
    typer.Option(
        "--after-restore",
        help="Once, after the database was restored from a backup: all tasks are sent again,"
        " flagged; final ones that may be done are held.",
    ),
]


Paused = Annotated[
    bool,
    typer.Option(
        "--paused", help="Send nothing to any agent, until 'sagabus resume --all' says so."
    ),
]


@app.command()
def up(
    config: Config = None,
    data: Data = None,
    http: Http = None,
    with_agents: Annotated[
        bool, typer.Option("--agents", help="Start the demo agents: devops, backend, tester.")
    ] = False,
    connect_timeout: ConnectTimeout = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    is_after_restore: AfterRestore = False,
    is_paused: Paused = False,
    is_json: Json = False,
) -> None:
    """Run everything in one process, with its own database and NATS server, until Ctrl-C.

    DIR/endpoints.json says where it can be reached while it is ready. With --json it is printed as
    one line when it is.
    """
    flags = {
        "config": config,
        "data_dir": data,
        "http": http,
        "connect_timeout_s": connect_timeout,
        "log_level": log_level,
        "log_format": log_format,
        "after_restore": is_after_restore or None,
        "paused_by": who() if is_paused else None,
    }
    environ = {name: value for name, value in os.environ.items() if name not in _MANAGED}
    _run(flags, environ, with_agents=with_agents, is_json=is_json)


@app.command()
def orchestrator(
    config: Config = None,
    data: Data = None,
    http: Http = None,
    nats_url: NatsUrl = None,
    surreal_url: SurrealUrl = None,
    surreal_user: SurrealUser = None,
    surreal_namespace: Namespace = None,
    surreal_database: Database = None,
    partitions: Partitions = None,
    max_deliver: MaxDeliver = None,
    connect_timeout: ConnectTimeout = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    is_after_restore: AfterRestore = False,
    is_paused: Paused = False,
    is_json: Json = False,
) -> None:
    """Run an orchestrator on servers that run already, until Ctrl-C or SIGTERM.

    A server that is missing at start is waited for --connect-timeout seconds; then exit code 1.
    """
    flags = {
        "config": config,
        "data_dir": data,
        "http": http,
        "nats_url": nats_url,
        "surreal_url": surreal_url,
        "surreal_user": surreal_user,
        "surreal_namespace": surreal_namespace,
        "surreal_database": surreal_database,
        "partitions": partitions,
        "max_deliver": max_deliver,
        "connect_timeout_s": connect_timeout,
        "log_level": log_level,
        "log_format": log_format,
        "after_restore": is_after_restore or None,
        "paused_by": who() if is_paused else None,
    }
    if not nats_url and not os.environ.get("SAGABUS_NATS_URL"):
        raise typer.BadParameter(
            "name the NATS servers with it or $SAGABUS_NATS_URL ('sagabus up' brings its own)",
            param_hint="--nats-url",
        )
    _run(flags, os.environ, with_agents=False, is_json=is_json)


@app.command()
def migrate(
    is_status: Annotated[
        bool, typer.Option("--status", help="Say what is applied, and change nothing.")
    ] = False,
    data: Data = None,
    surreal_url: SurrealUrl = None,
    surreal_user: SurrealUser = None,
    surreal_namespace: Namespace = None,
    surreal_database: Database = None,
    is_json: Json = False,
) -> None:
    """Bring the database's tables up to date; the orchestrator does so itself when it starts."""
    flags = {
        "data_dir": data,
        "surreal_url": surreal_url,
        "surreal_user": surreal_user,
        "surreal_namespace": surreal_namespace,
        "surreal_database": surreal_database,
    }
    settings = _settings(flags, os.environ)
    _body("migrate").run(settings, is_status=is_status, is_json=is_json)


@app.command()
def validate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Workflows files with what they include, YAML workflows, directories of packs.",
        ),
    ],
    form: Annotated[
        Literal["text", "json", "github"],
        typer.Option("--format", help="github: annotations at the lines of the files."),
    ] = "text",
    is_json: Json = False,
) -> None:
    """Report everything that is wrong with workflows files.

    Exit code: 0 all is valid, 1 there are errors, 2 wrong usage.
    """
    raise typer.Exit(_body("validate").run(files, form="json" if is_json else form))


@app.command()
def doctor(
    config: Config = None, data: Data = None, is_json: Json = False, url: Url = None
) -> None:
    """Check the installation and what runs; exit code 1 when something is broken."""
    settings = _settings({"config": config, "data_dir": data}, os.environ)
    is_config_given = bool(config or os.environ.get("SAGABUS_CONFIG"))
    raise typer.Exit(
        _body("doctor").run(settings, url, is_config_given=is_config_given, is_json=is_json)
    )


@app.command()
def demo() -> None:
    """Watch workflows succeed, roll back, wait for a person and survive kill -9."""
    raise typer.Exit(_body("demo").main())


@app.command()
def bench(
    workflows: Annotated[int, typer.Option(min=1, help="Instances per run.")] = 2000,
    stages: Annotated[int, typer.Option(min=1, max=50, help="Stages in a row.")] = 3,
    in_flight: Annotated[int, typer.Option(min=1, help="Instances at once.")] = 200,
    repeat: Annotated[int, typer.Option(min=1, help="Runs; the median counts.")] = 3,
    is_json: Json = False,
) -> None:
    """Measure workflows per second, latency, CPU and memory on this machine."""
    _body("bench").run(
        workflows=workflows, stages=stages, in_flight=in_flight, repeat=repeat, is_json=is_json
    )


def _run(
    flags: Mapping[str, Any], environ: Mapping[str, str], *, with_agents: bool, is_json: bool
) -> None:
    settings = _settings(flags, environ)
    is_config_given = bool(flags["config"] or environ.get("SAGABUS_CONFIG"))
    _body("up").run(
        settings, is_config_given=is_config_given, with_agents=with_agents, is_json=is_json
    )


def _settings(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """What flags and variables say.

    Raises:
        typer.BadParameter: one of them cannot be used.
    """
    try:
        return Settings.load(flags, environ)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from None


def _body(name: str) -> Any:
    return importlib.import_module(f"sagabus.cli.{name}")
