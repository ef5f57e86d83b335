"""Cedar policies: a directory of ``*.cedar`` files merged into one set, failing closed.

Cedar itself fails open: a ``forbid`` whose condition cannot be evaluated is skipped, so a missing
context key would permit. Hence every policy is checked against a schema when it is loaded, every
request against the same schema, and any error or doubt in a decision is a denial.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from cedarpy import (
    Decision,
    Entities,
    PolicySet,
    Schema,
    is_authorized,
    policies_to_json_str,
    validate_policies,
)

from sagabus.adapters.cedar_text import Statement, advice, statements
from sagabus.errors import ConfigError, InvalidConfigError
from sagabus.ports import PolicyDecision
from sagabus.text_file import read_text

MAX_FILE_BYTES: Final = 1024 * 1024

SCHEMA_TEXT: Final = """
entity Orchestrator;
entity Stage;
action "execute-stage", "compensate-stage" appliesTo {
  principal: [Orchestrator],
  resource: [Stage],
  context: {
    workflow: String,
    workflow_id: String,
    approved: Bool,
    approved_by: Set<String>,
    classification: String,
    attempt: Long,
    started_by: String,
  },
};
action "read-secret" appliesTo {
  principal: [Orchestrator],
  resource: [Stage],
  context: {
    workflow: String,
    workflow_id: String,
    approved: Bool,
    approved_by: Set<String>,
    classification: String,
    attempt: Long,
    started_by: String,
    role: String,
    key: String,
  },
};
"""

#: Once there are policies, everything not permitted is denied; undoing must not fall to that. A
#: ``forbid`` still overrides it.
OWN_POLICY: Final = (
    '@id("sagabus:compensation") permit(principal, action == Action::"compensate-stage", resource);'
)
#: What policies may name, for messages.
KNOWN: Final = (
    'known are Orchestrator::"sagabus", Action::"execute-stage", Action::"compensate-stage", '
    'Action::"read-secret", Stage::"...", and context.{workflow, workflow_id, approved, '
    "approved_by, classification, attempt, started_by}, for read-secret also context.{role, key}"
)
_PREFIX: Final = re.compile(r"^for policy `[^`]*`, ")
_SCHEMA: Final = Schema.from_str(SCHEMA_TEXT)
_NO_ENTITIES: Final = Entities.from_json_str("[]")
_PRINCIPAL: Final = {"type": "Orchestrator", "id": "sagabus"}


@dataclass(frozen=True, slots=True)
class CedarPolicies:
    """An immutable set of policies; implements ``sagabus.ports.Policies``."""

    directory: Path
    #: Names: the ``@id`` of each policy, else ``file.cedar:line``.
    names: Sequence[str]
    #: The policies as written: what makes two sets equal.
    texts: Sequence[str] = field(repr=False)
    warnings: Sequence[ConfigError] = field(compare=False)
    _set: PolicySet = field(repr=False, compare=False)

    @classmethod
    def load(cls, directory: Path) -> "CedarPolicies":
        """Merge every ``*.cedar`` file of ``directory``.

        Raises:
            InvalidConfigError: everything that is wrong, with file and line.
        """
        if not directory.is_dir():
            raise InvalidConfigError([ConfigError("there is no such directory", path=directory)])
        reading = _Reading()
        for path in sorted(directory.glob("*.cedar")):
            reading.read(path)
        if reading.problems:
            raise InvalidConfigError(reading.problems)
        warnings = []
        if not reading.has_permit:
            what = "no policy permits anything" if reading.texts else "there is no *.cedar file"
            message = f"{what}, so every stage will be denied; write a permit"
            warnings.append(ConfigError(message, path=directory))
        merged = PolicySet.from_str("\n".join([*reading.texts, OWN_POLICY]))
        return cls(directory, tuple(reading.names), tuple(reading.texts), tuple(warnings), merged)

    def authorize(self, action: str, stage: str, context: Mapping[str, Any]) -> PolicyDecision:
        """Decide ``action`` on ``Stage::"<stage>"``; any doubt is a denial."""
        request = {
            "principal": _PRINCIPAL,
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Stage", "id": stage},
            "context": dict(context),
        }
        try:
            answer = is_authorized(request, self._set, _NO_ENTITIES, _SCHEMA)
        except Exception as error:  # the driver's own errors have no common type
            return PolicyDecision(False, reason=f"the policies could not be evaluated: {error}")
        ids = answer.diagnostics.id_annotations_by_reason
        names = tuple(sorted(ids.get(reason, reason) for reason in answer.diagnostics.reasons))
        if answer.diagnostics.errors or answer.decision is Decision.NoDecision:
            why = "; ".join(answer.diagnostics.errors) or "no decision"
            return PolicyDecision(False, names, f"the policies could not be evaluated: {why}")
        if answer.decision is Decision.Allow:
            return PolicyDecision(True, names)
        if names:
            return PolicyDecision(False, names, f"forbidden by {', '.join(names)}")
        return PolicyDecision(
            False,
            reason=f'no policy permits {action} on Stage::"{stage}"; '
            f"a permit is needed in {self.directory}",
        )


@dataclass(slots=True)
class _Reading:
    problems: list[ConfigError] = field(default_factory=list)
    #: Every policy, named.
    texts: list[str] = field(default_factory=list)
    #: Where each name was given, as ``file:line``.
    names: dict[str, str] = field(default_factory=dict)
    has_permit: bool = False

    def read(self, path: Path) -> None:
        try:
            text = read_text(path, MAX_FILE_BYTES, "split it")
        except ConfigError as error:
            self.problems.append(error)
            return
        for statement in statements(text):
            try:
                self._add(path, statement)
            except ValueError as error:
                line = statement.line
                self.problems += [ConfigError(text, path=path, line=line) for text in error.args]

    def _add(self, path: Path, statement: Statement) -> None:
        policy = _parse(statement)
        _validate(statement)
        annotations = policy.get("annotations", {})
        # A bare @id is null.
        name = annotations.get("id") or "" if "id" in annotations else None
        text = statement.text
        if name is None:
            name = self._free(f"{path.name}:{statement.line}")
            text = f"@id({json.dumps(name, ensure_ascii=False)}) {text}"
        elif not name or name.startswith("sagabus:"):
            raise ValueError(f'@id("{name}") cannot be used; write a name of your own')
        if name in self.names:
            raise ValueError(
                f'@id("{name}") is already the name of the policy at {self.names[name]}'
            )
        self.names[name] = f"{path}:{statement.line}"
        self.texts.append(text)
        self.has_permit |= policy["effect"] == "permit"

    def _free(self, name: str) -> str:
        """``name``, numbered where several policies stand on one line."""
        further = (f"{name}#{number}" for number in count(2))
        return next(one for one in chain([name], further) if one not in self.names)


def _parse(statement: Statement) -> dict[str, Any]:
    """The policy as Cedar's JSON; a ``ValueError`` says what is wrong and what to write."""
    try:
        parsed = json.loads(policies_to_json_str(statement.text))
    except ValueError as error:
        hint = advice(statement.text)
        if hint is None and not statement.text.endswith(";"):
            hint = "a policy ends with a semicolon"
        message = f"not valid Cedar: {error}; {hint}" if hint else f"not valid Cedar: {error}"
        raise ValueError(message) from error
    if parsed["templates"]:
        raise ValueError(
            "policy templates (?principal, ?resource) are not supported; write an entity"
        )
    policy: dict[str, Any]
    (policy,) = parsed["staticPolicies"].values()
    return policy


def _validate(statement: Statement) -> None:
    result = validate_policies(statement.text, _SCHEMA)
    if result.validation_passed:
        return
    found = dict.fromkeys(_PREFIX.sub("", error.error) for error in result.errors)
    # Said of every policy that names something unknown, which the other message says better.
    told = [text for text in found if "unable to find an applicable action" not in text]
    raise ValueError(*(f"{text}; {KNOWN}" for text in told or found))
