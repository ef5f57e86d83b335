"""What a task was given in secret is hidden in everything that comes back from it."""

import asyncio
import io
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
import structlog
from pydantic import BaseModel

from sagabus_agents import Agent, PermanentError, Task
from sagabus_agents.execution import EncodedResult, Execution, encode_result
from sagabus_agents.hiding import Hiding, SecretTask, hiding_of
from sagabus_agents.roles.exec import exec_agent
from sagabus_agents.roles.http import http_agent
from sagabus_agents.roles.pack import pack_agent
from sagabus_agents.wire import MAX_INLINE_BYTES, ProgressMessage, ResultMessage, TaskMessage

SECRET = "s3cret/5f2c+\"9a\\77\n b1ä€😀'"
HIDDEN = "[secret:api.token]"
#: What can be searched for in whatever form the secret stands.
PIECES = ("s3cret", "5f2c")


async def encoded(
    agent: Agent, input: Any, secrets: dict[str, str], progress: list[ProgressMessage]
) -> EncodedResult:
    message = TaskMessage(
        type="task",
        stage_name="act",
        workflow_id="wf-1",
        workflow="demo",
        task="act-1-0",
        attempt=1,
        role=agent.roles[0],
        action="act",
        idempotency_key="wf-1/act-1-0",
        trace="0" * 32,
    )
    task = SecretTask(message)
    assert hiding_of(task) is None
    task.on_progress = progress.append
    task.redeemed(message.model_copy(update={"input": input}), secrets)
    outcome = await Execution(agent.handlers, task).run()
    assert outcome is not None
    return encode_result(task, outcome, agent.id, None)


async def run_secretly(
    agent: Agent,
    input: Any = SECRET,
    secrets: dict[str, str] | None = None,
    progress: list[ProgressMessage] | None = None,
) -> ResultMessage:
    """The result of an action ``act`` whose ``input`` has ``secrets`` in it."""
    secrets = {"api.token": SECRET} if secrets is None else secrets
    result = await encoded(agent, input, secrets, [] if progress is None else progress)
    message = result.message()
    for piece in PIECES:
        assert piece.encode() not in message
        assert piece.encode() not in (result.payload or b"")
    return ResultMessage.model_validate_json(message)


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that is logged, in both forms that agents log in."""
    lines = io.StringIO()
    last = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if request.param == "json"
        else [structlog.dev.ConsoleRenderer()]
    )
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *last],
        logger_factory=structlog.WriteLoggerFactory(lines),
    )
    yield lines
    structlog.configure(**before)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="!$&'()*+,;=:@/"),
        quote_plus(SECRET),
        quote_plus(SECRET).lower(),
        quote(quote(SECRET, safe=""), safe=""),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(SECRET))[3:-3],
        SECRET.replace("\n", "\r\n"),
        " ".join(SECRET.split()),
    ],
)
def test_every_form_of_a_secret_is_found(form: str) -> None:
    assert Hiding({"api.token": SECRET}).text(f"<{form}|{form}>") == f"<{HIDDEN}|{HIDDEN}>"


def test_secret_is_found_whatever_else_is_secret() -> None:
    secrets = {"a": "token", "b": "token-2", "c": "secret", "d": "....", "e": "\n token-3 \n"}
    text = "token token-2 secret .... token-3x other"
    hidden = "[secret:a] [secret:b] [secret:c] [secret:d] [secret:e]x other"
    assert Hiding(secrets).text(text) == hidden


def test_lines_of_a_long_secret_are_found_alone() -> None:
    key = "-----BEGIN KEY-----\nMIIE+abc/def\nq83jd=\n-----END KEY-----\n"
    hiding = Hiding({"k": key})
    assert hiding.text(f"<{key}>") == "<[secret:k]\n>"
    assert hiding.text("line MIIE+abc/def.") == "line [secret:k]."
    long = "\n".join(f"{number}/{'x' * 60}" for number in range(900))
    assert "x" not in Hiding({"k": long}).text(json.dumps(long))


def test_secret_of_less_than_four_characters_is_not_hidden() -> None:
    hiding = Hiding({"a": "abc", "b": "", "c": "abc\n", "d": "abcd"})
    assert hiding.text("abc\n abcd") == "abc\n [secret:d]"


def test_json_is_searched_in_depth_and_stays_json() -> None:
    value = {"a": [{SECRET: [f"x{SECRET}"]}, 123456, 1234567, 1.5, True, None], "b": "true"}
    hiding = Hiding({"api.token": SECRET, "pin": "123456", "half": "1.50", "t": "True"})
    found = orjson.loads(hiding.json(orjson.dumps(value)))
    assert found == {
        "a": [{HIDDEN: [f"x{HIDDEN}"]}, "[secret:pin]", 1234567, 1.5, True, None],
        "b": "true",
    }


@pytest.mark.parametrize(
    ("cut", "hidden"),
    [
        (f"it said {SECRET[:9]}", f"it said {HIDDEN}"),
        (f"it said {quote(SECRET, safe='')[:8]}", f"it said {HIDDEN}"),
        (f"{SECRET[4:]} it said", f"{HIDDEN} it said"),
        (f"it said {SECRET[:3]}", "it said s3c"),
        (f"it said {SECRET[:9]} and more", f"it said {SECRET[:9]} and more"),
    ],
)
def test_text_that_was_cut_within_a_secret_does_not_show_the_rest(cut: str, hidden: str) -> None:
    assert Hiding({"api.token": SECRET}).cut_text(cut) == hidden


class Answer(BaseModel):
    """An output that is no plain JSON yet."""

    tokens: dict[str, list[str]]


async def test_handler_that_returns_a_secret_does_not_let_it_out() -> None:
    agent = Agent("devops")

    @agent.task("act")
    async def act(task: Task, input: str) -> Any:
        task.artifact(f"vm-{input}")
        task.artifact("vm-2")
        task.progress(0.5, f"with {input}")
        return Answer(tokens={input: [f"a {input}", quote(input), json.dumps(input), "plain"]})

    progress: list[ProgressMessage] = []
    result = await run_secretly(agent, progress=progress)
    texts = [f"a {HIDDEN}", HIDDEN, f'"{HIDDEN}"', "plain"]
    assert result.output == {"tokens": {HIDDEN: texts}}
    assert result.artifacts == [f"vm-{HIDDEN}", "vm-2"]
    assert [news.message for news in progress] == [f"with {HIDDEN}"]


async def test_output_that_is_too_large_for_its_message_is_searched_too() -> None:
    agent = Agent("devops")

    @agent.task("act")
    def act(task: Task, input: str) -> Any:
        return ["x" * MAX_INLINE_BYTES, input]

    result = await encoded(agent, SECRET, {"api.token": SECRET}, [])
    assert orjson.loads(result.payload or b"")[1] == HIDDEN


@pytest.mark.parametrize("is_async", [True, False])
async def test_handler_that_raises_a_secret_does_not_let_it_out(
    is_async: bool, log: io.StringIO
) -> None:
    agent = Agent("devops")

    def fail(task: Task, input: str) -> Any:
        structlog.contextvars.bind_contextvars(bound=input)
        task.log.info(f"using {input}", token=[{"of": input}], message=task.message)
        try:
            json.loads(input)
        except ValueError:
            raise RuntimeError(f"no {input!r} at https://x/{quote(input)}") from KeyError(input)

    async def fail_later(task: Task, input: str) -> Any:
        fail(task, input)

    agent.task("act")(fail_later if is_async else fail)
    try:
        result = await run_secretly(agent)
    finally:
        structlog.contextvars.clear_contextvars()
    assert result.error is not None
    assert result.error.message == f"no '{HIDDEN}' at https://x/{HIDDEN}"
    logged = log.getvalue()
    assert "RuntimeError" in logged
    assert "task_failed" in logged
    assert "wf-1" in logged
    assert f"using {HIDDEN}" in logged
    for piece in PIECES:
        assert piece not in logged


async def test_type_of_an_error_is_searched_too() -> None:
    agent = Agent("devops")

    @agent.task("act")
    async def act(task: Task, input: str) -> Any:
        raise PermanentError("x" * 7_990 + input, type=input)

    result = await run_secretly(agent)
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == (HIDDEN, False)
    assert result.error.message.startswith("x" * 7_990 + "[secret:")


@pytest.mark.parametrize("code", [0, 1])
async def test_program_that_echoes_its_input_does_not_let_it_out(
    tmp_path: Path, log: io.StringIO, code: int
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import json, os, sys
        text = sys.stdin.read()
        secret = json.loads(text)["input"]["auth"]
        print(text)
        print("got", text, file=sys.stderr)
        print(secret, file=sys.stderr)
        with open(os.environ["SAGABUS_ARTIFACTS"], "w") as artifacts:
            print("vm", secret.replace(chr(10), ""), file=artifacts)
        sys.exit({code})
        """)
    )
    secret = SECRET.replace("\n", "")
    agent = exec_agent("devops", {"act": f"{sys.executable} {program}"})
    result = await run_secretly(agent, {"auth": secret}, {"api.token": secret})
    assert result.artifacts == [f"vm {HIDDEN}"]
    if code == 0:
        assert result.output["input"] == {"auth": HIDDEN}
    else:
        assert result.error is not None
        assert result.error.message.endswith(HIDDEN)
    assert log.getvalue().count(HIDDEN) == 2
    for piece in PIECES:
        assert piece not in log.getvalue()


async def test_end_of_a_program_s_complaint_begins_within_no_secret(tmp_path: Path) -> None:
    secret = "s3cret-" + "abcdefghij" * 10
    program = tmp_path / "program.py"
    program.write_text(f"import sys; sys.stderr.write({secret!r} + '.' * 3_950); sys.exit(1)")
    agent = exec_agent("devops", {"act": f"{sys.executable} {program}"})
    result = await run_secretly(agent, secret, {"api.token": secret})
    assert result.error is not None
    assert result.error.message == HIDDEN + "." * 3_950


async def test_action_of_a_pack_that_fails_does_not_let_its_secret_out(
    tmp_path: Path, log: io.StringIO
) -> None:
    actions = tmp_path / "shop" / "actions"
    actions.mkdir(parents=True)
    (actions / "act.yaml").write_text("description: Fails\n")
    (actions / "act.py").write_text("def run(token):\n    return {}[token]\n")
    result = await run_secretly(
        pack_agent("shop", tmp_path), {"token": "s3cret-1"}, {"k": "s3cret-1"}
    )
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("KeyError", "'[secret:k]'")
    assert "KeyError: '[secret:k]'" in log.getvalue().replace("\\n", "\n")
    assert "s3cret" not in log.getvalue()
    refused = await run_secretly(
        pack_agent("shop", tmp_path), "x" * 50 + "s3cret-1", {"k": "s3cret-1"}
    )
    assert refused.error is not None
    assert refused.error.type == "bad_input"


async def test_path_of_an_address_that_is_secret_is_hidden() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        body = b"x" * 470 + b" " + target
        status = b"200 OK" if b"fine" in target else b"400 No"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    agent = http_agent("devops")
    agent.task("act")(agent.handlers.find("task", "get").function)  # type: ignore[arg-type]
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        place = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        secrets = {"hook": "s3cret/ü 5f2c-0123456789"}
        input = {"url": f"{place}/fine/{secrets['hook']}"}
        fine = await run_secretly(agent, input, secrets)
        refused = await run_secretly(agent, {"url": f"{place}/{secrets['hook']}"}, secrets)
    assert fine.output["url"] == f"{place}/fine/[secret:hook]"
    assert fine.output["body"].endswith(" /fine/[secret:hook]")
    assert refused.error is not None
    assert refused.error.message.startswith(f"GET {place}/[secret:hook] answered 400")
    assert refused.error.message.endswith("x /[secret:hook]")
