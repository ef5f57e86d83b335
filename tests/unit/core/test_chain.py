"""The chain of a trail: every way to falsify it, and where that is found."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from sagabus.core.chain import Entry, EntryCheck, Head, TrailCheck, TrailRow, entry_link, row_link
from sagabus.core.fingerprint import fingerprint

START = datetime(2026, 3, 1, tzinfo=UTC)


def row(version: int, *seqs: int, **texts: str) -> TrailRow:
    events = [
        {"seq": seq, "type": "TaskCompleted", "at": START, "data": {"stage": "a"}} for seq in seqs
    ]
    return TrailRow("i", version, "flow", orjson.dumps(events).decode(), **texts)


def chained(*rows: TrailRow, link: str = "") -> list[TrailRow]:
    found = []
    for each in rows:
        link = row_link(link, each)
        found.append(each._replace(link=link))
    return found


#: Versions are not consecutive: a transition may leave nothing in the trail.
TRAIL = chained(
    row(1, 1, 2),
    row(2, 3),
    row(4, 4, 5, attempts='[{"task":"a-1-0"}]'),
    row(5, sums="{}"),
    row(7, 6),
)
HEAD = Head(7, 6, TRAIL[-1].link or "")


def check(rows: list[TrailRow], head: Head = HEAD, **settings) -> TrailCheck:
    found = TrailCheck(**settings)
    for each in rows:
        found.add(each)
    found.end(head)
    return found


def test_a_trail_as_it_was_stored_is_intact() -> None:
    found = check(TRAIL)
    assert (found.fault, found.rows, found.not_covered) == (None, 5, 0)
    assert (found.link, found.version) == (HEAD.link, 7)


def test_a_row_that_holds_a_state_alone_is_no_part_of_the_trail() -> None:
    assert check([*TRAIL[:2], row(3), *TRAIL[2:]]).fault is None


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({"events": TRAIL[1].events.replace('"a"', '"b"')}, 2),
        ({"workflow": "other"}, 2),
        ({"version": 3}, 3),
        ({"instance": "other"}, 2),
        ({"attempts": "[]"}, 2),
        ({"sums": "{}"}, 2),
        ({"link": "0" * 64}, 2),
        ({"events": "what"}, 2),
        ({"events": "5"}, 2),
        ({"events": '[{"seq":"3"}]'}, 2),
    ],
)
def test_a_row_that_was_changed_is_named(change, version) -> None:
    fault = check([TRAIL[0], TRAIL[1]._replace(**change), *TRAIL[2:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("changed", version)


def test_attempts_of_a_row_are_part_of_its_link() -> None:
    changed = TRAIL[2]._replace(attempts='[{"task":"b-1-0"}]')
    fault = check([*TRAIL[:2], changed, *TRAIL[3:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version, fault.seq) == ("changed", 4, 4)


def test_a_row_whose_link_was_computed_anew_gives_itself_away_in_the_next() -> None:
    [forged] = chained(
        TRAIL[1]._replace(events=TRAIL[1].events.replace('"a"', '"b"')), link=TRAIL[0].link or ""
    )
    fault = check([TRAIL[0], forged, *TRAIL[2:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("changed", 4)


def test_missing_events_are_named_by_their_numbers() -> None:
    fault = check([TRAIL[0], *TRAIL[2:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version, fault.seq) == ("missing", 4, 3)
    assert "events 3 to 3 are missing" in fault.message


def test_a_missing_row_without_events_breaks_the_chain_behind_it() -> None:
    fault = check([*TRAIL[:3], TRAIL[4]]).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("changed", 7)


def test_rows_that_changed_places_are_told_from_missing_ones() -> None:
    second, third = (
        TRAIL[2]._replace(version=TRAIL[1].version),
        TRAIL[1]._replace(version=TRAIL[2].version),
    )
    fault = check([TRAIL[0], second, third, *TRAIL[3:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version, fault.seq) == ("moved", 2, 3)
    assert "it stands at version 4" in fault.message


def test_a_row_that_was_told_before_is_out_of_place() -> None:
    fault = check([*TRAIL[:2], TRAIL[0]._replace(version=3), *TRAIL[2:]]).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("moved", 3)


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_trail_that_was_cut_off_is_found_by_what_the_instance_says(kept) -> None:
    fault = check(TRAIL[:kept]).fault
    assert fault is not None
    assert fault.kind == "cut_off"


@pytest.mark.parametrize("head", [replace(HEAD, seq=9), replace(HEAD, link="0" * 64)])
def test_an_instance_that_says_otherwise_is_not_believed(head) -> None:
    fault = check(TRAIL, head).fault
    assert fault is not None
    assert fault.kind == "cut_off"


def test_a_last_row_without_events_is_missed_too() -> None:
    fault = check(TRAIL[:4], Head(5, 5, TRAIL[3].link or "")).fault
    assert fault is None
    fault = check(TRAIL[:3], Head(5, 5, TRAIL[3].link or "")).fault
    assert fault is not None
    assert fault.kind == "cut_off"


def test_rows_from_before_the_chain_are_not_covered_and_not_wrong() -> None:
    later = START.replace(year=2027)
    old, new = [row(1, 1, 2), row(2, attempts="[]")], chained(row(3, 3), row(4, 4))
    found = check([*old, *new], Head(4, 4, new[-1].link or ""), chained_since=later)
    assert (found.fault, found.rows, found.not_covered) == (None, 4, 2)
    found = check(old, Head(2, 2, ""), chained_since=later)
    assert (found.fault, found.not_covered) == (None, 2)


@pytest.mark.parametrize("since", [None, START, START.replace(year=2025)])
def test_links_that_were_taken_away_are_missed(since) -> None:
    bare = [each._replace(link=None) for each in TRAIL]
    fault = check(bare, Head(7, 6, ""), chained_since=since).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("not_chained", 1)


def test_a_row_without_link_behind_one_with_a_link_is_wrong_whatever_its_age() -> None:
    bare = [*TRAIL[:2], *(each._replace(link=None) for each in TRAIL[2:])]
    fault = check(bare, chained_since=START.replace(year=2027)).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("not_chained", 4)


def test_a_chain_that_was_computed_anew_does_not_hold_what_was_noted() -> None:
    noted = {4: TRAIL[2].link or ""}
    assert check(TRAIL, noted=dict(noted)).fault is None
    forged = chained(*(each._replace(workflow="other") for each in TRAIL))
    head = Head(7, 6, forged[-1].link or "")
    assert check(forged, head).fault is None  # nobody can tell by the rows alone
    fault = check(forged, head, noted=dict(noted)).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("changed", 4)
    fault = check(TRAIL, noted={8: "0" * 64}).fault
    assert fault is not None
    assert (fault.kind, fault.version) == ("missing", 8)


def entries(*texts: str) -> list[Entry]:
    found, link = [], ""
    for number, text in enumerate(texts, start=1):
        link = entry_link(link, number, text)
        found.append(Entry(number, text, link))
    return found


BESIDE = entries("{}", "[]", "3")


@pytest.mark.parametrize(
    ("found", "kind", "number"),
    [
        (BESIDE, None, None),
        ([BESIDE[0], replace(BESIDE[1], text="x"), BESIDE[2]], "changed", 2),
        ([BESIDE[0], BESIDE[2]], "missing", 3),
        (BESIDE[:2], "cut_off", 3),
        ([], "cut_off", 1),
    ],
)
def test_entries_beside_instances_are_chained_alike(found, kind, number) -> None:
    check = EntryCheck()
    for each in found:
        check.add(each)
    check.end(3, BESIDE[-1].link)
    if kind is None:
        assert check.fault is None
    else:
        assert check.fault is not None
        assert (check.fault.kind, check.fault.version) == (kind, number)


def test_entries_computed_anew_do_not_hold_what_was_noted() -> None:
    forged = entries("{}", "x", "3")
    check = EntryCheck({2: BESIDE[1].link})
    for each in forged:
        check.add(each)
    check.end(3, forged[-1].link)
    assert check.fault is not None
    assert (check.fault.kind, check.fault.version) == ("changed", 2)


def test_a_fingerprint_is_of_the_value_and_not_of_its_spelling() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 10**30}) == fingerprint({"a": 10**30})
    assert len({fingerprint(each) for each in ({"a": 1}, {"a": True}, {"a": 10**30}, {})}) == 4


def large(version: int, seq: int, digest: str) -> TrailRow:
    return row(version, seq, sums=f'{{"a-1-0/1":"{digest}"}}')


def test_rows_of_attempts_are_those_of_when_they_were_read_or_later() -> None:
    trail = chained(large(1, 1, "sent"), large(2, 2, "runs"), large(3, 3, "done"))
    head = Head(3, 3, trail[-1].link or "")

    def kind(attempts: dict[str, str], version: int) -> str | None:
        found = check(trail, head, attempts_from=version)
        found.compare(attempts)
        return found.fault.kind if found.fault is not None else None

    assert kind({"a-1-0/1": "done"}, 3) is None
    assert kind({"a-1-0/1": "runs"}, 3) == "changed"
    assert kind({"a-1-0/1": "runs"}, 2) is None
    assert kind({"a-1-0/1": "sent"}, 2) == "changed"
    assert kind({"a-1-0/1": "done"}, 1) is None
    assert kind({}, 1) == "missing"
    assert kind({}, 0) is None
    assert kind({"a-1-0/1": "done", "b-1-0/1": "done"}, 3) == "added"


def test_what_an_instance_was_begun_with_is_told_by_its_newest_beginning() -> None:
    def begun(version: int, parameters: str) -> TrailRow:
        data = {"definition": "d1", "parameters_sha256": parameters}
        event = {"seq": version, "type": "WorkflowRetried", "at": START, "data": data}
        return TrailRow("i", version, "flow", orjson.dumps([event]).decode())

    trail = chained(begun(1, "p1"), begun(2, "p2"))
    for definition, parameters, is_intact in (
        ("d1", "p2", True),
        ("d1", "p1", False),
        ("d2", "p2", False),
    ):
        found = check(trail, Head(2, 2, trail[-1].link or ""))
        found.compare_beginning(definition, parameters)
        assert (found.fault is None) is is_intact
