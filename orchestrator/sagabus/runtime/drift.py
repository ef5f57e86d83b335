"""Looking for drift: the roles that made resources are asked which exist, over core NATS.

Nothing is stored and nothing is queued: a role without an agent is known at once, and its other
tasks wait for nothing. What changes while roles are being asked is not reported as drift.
"""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from sagabus.core.drift import Changed, Declared, DriftReport, Unmanaged, Unobserved, differences
from sagabus.errors import (
    BadMessageError,
    BusError,
    BusUnavailableError,
    InvalidRequestError,
    ResourceNotFoundError,
)
from sagabus.ports import Bus, Resource, ResourceFilter, Resources
from sagabus.runtime.presence import Presence
from sagabus_agents.wire import (
    MAX_INLINE_BYTES,
    MAX_PAYLOAD_BYTES,
    OBSERVE_TASK,
    Observed,
    ResultMessage,
    ResultStatus,
    TaskType,
    is_id,
    observe_subject,
    task_payload_name,
)

DEFAULT_TIMEOUT_S: Final = 30.0
MAX_TIMEOUT_S: Final = 300.0
#: The agent ends an observation in time; its answer has this much longer to arrive.
_GRACE_S: Final = 2.0
_PAGE: Final = 1_000
#: Kinds that are named where an unknown one was asked for.
_MAX_KINDS: Final = 10
_MAX_REASON_CHARS: Final = 500

_OBSERVED: Final = TypeAdapter(list[Observed])

#: Resources by kind and id.
_Known = dict[tuple[str, str], Resource]
#: What a role says of a kind, by id; or why it says nothing.
_Answer = dict[str, Observed] | str


class DriftWatch:
    """Compares what was declared with what there is."""

    def __init__(self, resources: Resources, bus: Bus, presence: Presence) -> None:
        self._resources = resources
        self._bus = bus
        self._presence = presence

    async def look(
        self, kind: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> DriftReport:
        """Ask every role that made resources (of ``kind``), all at once.

        ``timeout_s``: for each to answer; who does not is named in the report.

        Raises:
            InvalidRequestError: the kind cannot be one.
            ResourceNotFoundError: no resource of it was ever declared.
            StoreUnavailableError: the database is away.
        """
        if kind is not None and not is_id(kind):
            raise InvalidRequestError(
                f"{kind!r:.80} is no kind of resources: 1 to 64 letters, digits, '_' and '-' only"
            )
        at = datetime.now(UTC)
        before = await self._known(kind)
        if kind is not None and not before:
            raise ResourceNotFoundError(_unknown(kind, await self._resources.kinds()))
        asked = _by_maker(before.values())
        answers = await asyncio.gather(
            *(
                self._ask(*maker, [each.id for each in made], timeout_s)
                for maker, made in asked.items()
            )
        )
        after = await self._known(kind)
        told = dict(zip(asked, answers, strict=True))
        unobserved = [
            Unobserved(*maker, sum(each.status == "present" for each in asked[maker]), answer)
            for maker, answer in told.items()
            if isinstance(answer, str)
        ]
        found = {maker: answer for maker, answer in told.items() if not isinstance(answer, str)}
        # What was declared or undone in the meantime was observed before or after that: who knows.
        steady = [
            each
            for key, each in before.items()
            if each.status == "present"
            and after.get(key) == each
            and (each.role, each.kind) in found
        ]
        missing, changed = _compared(steady, found)
        return DriftReport(
            at=at,
            kind=kind,
            observed=len(steady),
            missing=missing,
            changed=changed,
            unmanaged=_unmanaged(found, before, after),
            unobserved=unobserved,
        )

    async def _known(self, kind: str | None) -> _Known:
        found: _Known = {}
        where, cursor = ResourceFilter(kind=kind), None
        while True:
            page = await self._resources.list(where, limit=_PAGE, cursor=cursor)
            found |= {(each.kind, each.id): each for each in page.resources}
            cursor = page.cursor
            if cursor is None:
                return found

    async def _ask(self, role: str, kind: str, ids: Sequence[str], timeout_s: float) -> _Answer:
        question = secrets.token_hex(16)
        body = {"input": {"kind": kind, "ids": ids}}
        message = _message(question, role, kind, timeout_s)
        data = orjson.dumps(message | body)
        stored: list[str] = []
        try:
            if len(data) > MAX_INLINE_BYTES:
                name = task_payload_name(question, OBSERVE_TASK, 1)
                stored.append(name)
                ref = await self._bus.put_payload(name, orjson.dumps(body))
                data = orjson.dumps(message | {"payload": ref.model_dump()})
            reply = await self._bus.request(observe_subject(role, kind), data, timeout_s + _GRACE_S)
            if reply is None:
                return self._nobody(role, kind)
            answer = ResultMessage.model_validate_json(reply)
            if answer.status is not ResultStatus.SUCCEEDED:
                return _failure(answer)
            if answer.payload is not None:
                stored.append(answer.payload.name)
            found = _OBSERVED.validate_python(await self._output(answer))
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except ValidationError as error:
            return _misunderstood(error)
        except BusError as error:
            return str(error)
        finally:
            await self._delete(stored)
        return {each.id: each for each in found}

    async def _output(self, answer: ResultMessage) -> Any:
        ref = answer.payload
        if ref is None:
            return answer.output
        if ref.size > MAX_PAYLOAD_BYTES:
            raise BadMessageError(f"its answer has {ref.size} bytes of {MAX_PAYLOAD_BYTES}")
        data = await self._bus.get_payload(ref)
        if data is None:
            raise BadMessageError("its answer was lost on the bus")
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadMessageError(f"its answer is no JSON: {error}") from error

    async def _delete(self, names: Sequence[str]) -> None:
        if names:
            with suppress(BusUnavailableError):  # they expire
                await self._bus.delete_payloads(names)

    def _nobody(self, role: str, kind: str) -> str:
        alive = sum(role in agent.roles for agent in self._presence.alive())
        if not alive:
            return f"no agent of role {role!r} is alive"
        return (
            f"{alive} agent{'s' * (alive > 1)} of role {role!r} alive, and none observes {kind!r}:"
            f' give one a handler with @agent.observe("{kind}")'
        )


def _unknown(kind: str, kinds: Sequence[str]) -> str:
    near = get_close_matches(kind, kinds, n=1)
    if not kinds:
        return f"no resource was ever declared, of kind {kind!r} or any other"
    known = ", ".join([*kinds[:_MAX_KINDS], *["..."] * (len(kinds) > _MAX_KINDS)])
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"no resource of kind {kind!r} was ever declared, only of {known}{meant}"


def _by_maker(resources: Iterable[Resource]) -> dict[tuple[str, str], list[Resource]]:
    """Resources by the role that made them, and by kind."""
    makers: dict[tuple[str, str], list[Resource]] = {}
    for each in resources:
        makers.setdefault((each.role, each.kind), []).append(each)
    return makers


def _message(question: str, role: str, kind: str, timeout_s: float) -> dict[str, Any]:
    return {
        "type": TaskType.OBSERVE,
        "stage_name": "",
        "workflow_id": question,
        "workflow": "",
        "task": OBSERVE_TASK,
        "attempt": 1,
        "role": role,
        "action": kind,
        "idempotency_key": f"{question}:{OBSERVE_TASK}",
        "timeout_s": timeout_s,
        "trace": question,
    }


def _compared(
    resources: Iterable[Resource], found: Mapping[tuple[str, str], Mapping[str, Observed]]
) -> tuple[list[Declared], list[Changed]]:
    missing: list[Declared] = []
    changed: list[Changed] = []
    for each in resources:
        observed = found[each.role, each.kind].get(each.id)
        if observed is None:
            missing.append(_declared(each))
        elif observed.spec is not None:
            fields = list(differences(each.spec, observed.spec))
            changed += [Changed(_declared(each), fields)] if fields else []
    return missing, changed


def _unmanaged(
    found: Mapping[tuple[str, str], Mapping[str, Observed]], before: _Known, after: _Known
) -> list[Unmanaged]:
    unmanaged: dict[tuple[str, str], Unmanaged] = {}
    for (role, kind), answer in found.items():
        for id, observed in answer.items():
            known = after.get((kind, id))
            was = before.get((kind, id))
            if any(each is not None and each.status == "present" for each in (known, was)):
                continue
            gone_at = known.gone_at if known is not None else None
            instance = known.instance if known is not None else None
            entry = Unmanaged(kind, id, role, observed.spec, gone_at, instance)
            unmanaged.setdefault((kind, id), entry)
    return [unmanaged[key] for key in sorted(unmanaged)]


def _declared(resource: Resource) -> Declared:
    return Declared(
        kind=resource.kind,
        id=resource.id,
        spec=resource.spec,
        spec_version=resource.spec_version,
        role=resource.role,
        instance=resource.instance,
        workflow=resource.workflow,
        stage=resource.stage,
        declared_at=resource.declared_at,
    )


def _failure(answer: ResultMessage) -> str:
    if answer.error is None:
        return f"agent {answer.agent!r} failed and does not say why"
    return f"agent {answer.agent!r}: {answer.error.type}: {answer.error.message}"[
        :_MAX_REASON_CHARS
    ]


def _misunderstood(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    said = f"{place}: {first['msg']}" if place else first["msg"]
    return f"its answer is no list of {{id, spec}}: {said}"[:_MAX_REASON_CHARS]
