"""Texts of a fixed form that the API takes, and each form in words, for who sent another one."""

from typing import Final

from sagabus_agents.wire import ID_PATTERN, ROLE_PATTERN

#: ``<task>/<attempt>``.
ATTEMPT: Final = r"^[A-Za-z0-9_-]{1,200}/[1-9][0-9]{0,5}$"
#: Of an audit trail: a SHA-256.
LINK: Final = r"^[0-9a-f]{64}$"

IN_WORDS: Final = {
    ID_PATTERN: "write 1 to 64 letters, digits, '_' and '-'",
    ROLE_PATTERN: "write 1 to 64 letters, digits, '_' and '-', no '_' in front",
    ATTEMPT: "write TASK/ATTEMPT, as in build-1-0/2",
    LINK: "write the 64 hexadecimal digits of a link",
}
