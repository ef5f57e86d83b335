"""Answering agents who ask for the secrets of a task: for as long as it runs, and nobody else's.

A request that cannot be judged now (the partition is being taken, the database is away) is left
without an answer: the agent asks again. Secrets pass through here, and are neither stored nor
logged.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog
from pydantic import ValidationError

from sagabus.core.gates import consent_to
from sagabus.core.instance import Attempt, InstanceState, run_key
from sagabus.errors import BusError, RequestError, StoreError
from sagabus.ports import Policies
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership
from sagabus_agents.wire import SecretAnswer, SecretRequest, secret_subject

log = structlog.get_logger(__name__)

#: Requests that wait; who finds no room asks again.
_ROOM: Final = 1_000
#: Requests under way: one that waits for the database must not hold up all.
_AT_ONCE: Final = 8
_MAX_BYTES: Final = 4_096


class SecretDesk:
    """Takes requests of the partitions that this orchestrator serves."""

    def __init__(self, engine: Engine, ownership: Ownership) -> None:
        self._engine = engine
        self._ownership = ownership
        self._requests: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_ROOM)

    async def listen(self) -> AbstractAsyncContextManager[None]:
        """Take requests for the time of the context."""
        return await self._engine.bus.subscribe(secret_subject("*", "*"), self._on_request)

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work())

    def _on_request(self, subject: str, data: bytes) -> None:
        try:
            self._requests.put_nowait((subject, data))
        except asyncio.QueueFull:
            log.warning("secret_requests_dropped")

    async def _work(self) -> None:
        while True:
            subject, data = await self._requests.get()
            try:
                await self._answer(subject, data)
            except (BusError, StoreError) as error:
                log.warning("secret_not_answered", error=str(error))
            except Exception:
                # One request must not end the orchestrator.
                log.exception("secret_not_answered")

    async def _answer(self, subject: str, data: bytes) -> None:
        role, instance = subject.split(".")[2:4]
        try:
            request = SecretRequest.model_validate_json(data[:_MAX_BYTES])
        except ValidationError as error:
            log.warning("secret_request_unreadable", problems=error.error_count(), role=role)
            return
        loop = self._ownership.loop_of(instance)
        if loop is None:
            return
        noted = log.bind(workflow_id=instance, task=request.task, key=request.key, role=role)
        try:
            secret = await self._redeem(request, role, loop.state_of(instance))
        except (_RefusedError, RequestError) as error:
            noted.warning("secret_refused", agent=request.agent, reason=str(error))
            answer = SecretAnswer(request=request.request, refusal=str(error))
        else:
            noted.info("secret_redeemed", agent=request.agent, attempt=request.attempt)
            answer = SecretAnswer(request=request.request, secret=secret)
        await self._engine.bus.notify(request.reply, answer.model_dump_json().encode())

    async def _redeem(self, request: SecretRequest, role: str, state: InstanceState | None) -> str:
        """The secret.

        Raises:
            _RefusedError: it is not for whoever asks.
            RequestError: it cannot be decrypted.
        """
        attempt = None if state is None else _find(state, request)
        if state is None or attempt is None or not attempt.is_unanswered:
            raise _RefusedError("the task does not exist, or has ended")
        _check_holder(attempt, request, role)
        if request.key not in {use.key for use in attempt.secrets}:
            raise _RefusedError("the task's input does not name it")
        definition = await self._engine.snapshots.of(state.row.digest)
        if definition.has_policies:
            classification = definition.stages[attempt.stage].classification
            _ask_policies(self._engine.policies(), state, attempt, classification, request.key)
        secret = await self._engine.kv.reveal(request.key)
        if secret is None:
            how = f"sagabus kv set {request.key} --secret"
            raise _RefusedError(f"there is no such secret; store it with: {how}")
        return secret


class _RefusedError(Exception):
    """The secret is not for whoever asks."""


def _find(state: InstanceState, request: SecretRequest) -> Attempt | None:
    # Not by position: of an instance that was reloaded only the open attempts are at hand.
    tries = state.attempts.get(request.task, ())
    return next((each for each in tries if each.attempt == request.attempt), None)


def _check_holder(attempt: Attempt, request: SecretRequest, role: str) -> None:
    if attempt.role != role:
        raise _RefusedError(f"the task is one of the role {attempt.role!r}")
    if attempt.claim and attempt.claim_id is None:
        raise _RefusedError("the task was not claimed")
    if attempt.agent not in {None, request.agent}:
        raise _RefusedError("another agent runs the task")


def _ask_policies(
    policies: Policies | None,
    state: InstanceState,
    attempt: Attempt,
    classification: str,
    key: str,
) -> None:
    if policies is None:
        raise _RefusedError("the instance was started under policies, and now none are configured")
    run = state.row.runs[run_key(attempt.stage, attempt.pass_)]
    context = {
        "workflow": state.row.workflow,
        "workflow_id": state.row.id,
        **consent_to(run),
        "classification": classification,
        "attempt": attempt.attempt,
        "started_by": state.row.started_by,
        "role": attempt.role,
        "key": key,
    }
    verdict = policies.authorize("read-secret", attempt.stage, context)
    if not verdict.is_allowed:
        raise _RefusedError(verdict.reason)
