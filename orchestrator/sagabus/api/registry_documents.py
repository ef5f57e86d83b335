"""What the routes of the registry and of packs take and answer."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import Depends, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from sagabus.app.registry import Draft, pack_of
from sagabus.definitions.catalog import Catalog
from sagabus.errors import ConfigError, DefinitionError, InvalidConfigError, InvalidRequestError
from sagabus.ports import Registered
from sagabus.views.shared import View

_YAML: Final = frozenset(
    {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml"}
)
_VERSION: Final = re.compile(r'(?:W/)?"?(?P<version>\d{1,9})"?')

#: Who asks.


class RegisteredView(View):
    """One version of a registered workflow."""

    name: str
    pack: str
    version: int
    digest: str
    by: str
    at: datetime
    is_deleted: bool
    format: Literal["json", "yaml"]
    #: The document as it was given; null in lists.
    text: str | None = None


class RegisteredList(View):
    """Registered workflows, or versions of one, newest first."""

    items: list[RegisteredView]


class ProblemView(View):
    """One thing that is wrong with a document, or doubtful."""

    #: The file it came from, where it was named.
    file: str | None
    line: int | None
    workflow: str | None
    stage: str | None
    key: str | None
    message: str


class ProblemList(View):
    """Everything that is wrong with what was to be registered; nothing of it was stored."""

    code: str
    message: str
    problems: list[ProblemView]


class DocumentRequest(BaseModel):
    """One workflow of a pack, as YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    #: Names the text in messages, and where in that file it begins.
    file: str = Field(default="document", min_length=1, max_length=512)
    line: int = Field(default=1, ge=1, le=1_000_000)


class PackRequest(BaseModel):
    """Workflows of a pack, to be registered together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workflows: list[DocumentRequest] = Field(min_length=1, max_length=1000)


class PackView(View):
    """A pack: a directory of files, or only a name that registered workflows share."""

    ref: str
    label: str
    version: str
    description: str
    tags: list[str]
    #: There are no files of it.
    is_registered_only: bool
    #: Names of what is in force.
    workflows: list[str]
    actions: list[str]


class PackList(View):
    """Every pack, by name."""

    items: list[PackView]


class ActionView(View):
    """What a stage can name as its ``action``."""

    ref: str
    label: str
    description: str
    pack: str | None
    #: The agents that serve it; null: it is built in, or a workflow.
    role: str | None
    is_workflow: bool
    #: By name, JSON Schema keywords with ``required``; null: anything is accepted.
    parameters: dict[str, Any] | None


class ActionList(View):
    """Every action, by name."""

    items: list[ActionView]


def registered_of(entry: Registered, *, has_text: bool = True) -> RegisteredView:
    """The document of a version."""
    workflow = entry.workflow
    return RegisteredView(
        name=workflow.name,
        pack=workflow.pack,
        version=entry.version,
        digest=workflow.digest,
        by=entry.by,
        at=entry.at,
        is_deleted=entry.is_deleted,
        format=workflow.format,
        text=workflow.text if has_text else None,
    )


def packs_of(catalog: Catalog) -> dict[str, PackView]:
    """The documents of every pack, by name."""
    names = {*catalog.packs, *(pack_of(name) for name in catalog.definitions)} - {""}
    return {name: _pack_of(name, catalog) for name in sorted(names)}


def actions_of(catalog: Catalog) -> list[ActionView]:
    """The documents of every action, by name."""
    return [
        ActionView(
            ref=action.name,
            label=action.label,
            description=action.description,
            pack=action.pack,
            role=action.role,
            is_workflow=action.is_workflow,
            parameters=dict(action.parameters) if action.parameters is not None else None,
        )
        for action in catalog.actions()
    ]


def _pack_of(name: str, catalog: Catalog) -> PackView:
    pack = catalog.packs.get(name)
    return PackView(
        ref=name,
        label=pack.label if pack else "",
        version=pack.version if pack else "",
        description=pack.description if pack else "",
        tags=list(pack.tags) if pack else [],
        is_registered_only=pack is None,
        workflows=sorted(each for each in catalog.definitions if pack_of(each) == name),
        actions=sorted(pack.actions) if pack else [],
    )


def problems_answer(error: InvalidConfigError) -> JSONResponse:
    """All that is wrong, as 422."""
    document = ProblemList(
        code="invalid_workflow",
        message=str(error),
        problems=[problem_of(problem) for problem in error.problems],
    )
    return JSONResponse(document.model_dump(mode="json"), 422)


def problem_of(problem: ConfigError) -> ProblemView:
    """The document of one problem."""
    located = problem if isinstance(problem, DefinitionError) else DefinitionError("")
    return ProblemView(
        file=problem.path,
        line=problem.line,
        workflow=located.workflow,
        stage=located.stage,
        key=located.key,
        message=problem.message,
    )


def etag(entry: Registered) -> str:
    """What ``If-Match`` takes."""
    return f'"{entry.version}"'


async def _draft(request: Request) -> Draft:
    """The workflow in the body: YAML where the content type says so, else JSON.

    Raises:
        InvalidRequestError: no text, or no JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {*_YAML, "application/json", ""}:
        raise HTTPException(
            415, f"the content type {kind!r} is no workflow: send application/yaml or JSON"
        )
    body = await request.body()
    try:
        text = body.decode()
        if kind not in _YAML:
            document: Any = orjson.loads(body)
            if not isinstance(document, dict):
                raise InvalidRequestError("body: not a JSON object")
    except UnicodeDecodeError:
        raise InvalidRequestError("body: not UTF-8 text") from None
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"body, line {error.lineno}: no JSON: {error.msg}; YAML is sent as application/yaml"
        ) from None
    return Draft(text, "yaml" if kind in _YAML else "json")


def _expected(
    if_match: Annotated[str | None, Header(alias="If-Match")] = None,
) -> int | None:
    if if_match is None:
        return None
    found = _VERSION.fullmatch(if_match.strip())
    if found is None:
        raise InvalidRequestError(
            f"If-Match: {if_match!r} is no version; send the ETag of the version that you read"
        )
    return int(found["version"])


Body = Annotated[Draft, Depends(_draft)]
Expected = Annotated[int | None, Depends(_expected)]
