"""How the messages of a batch are cut into what may be on its way at once."""

import pytest

from sagabus.adapters.nats_publisher import _chunks
from sagabus.errors import BadMessageError
from sagabus.ports import OutgoingEvent
from sagabus_agents.wire import MAX_MESSAGE_BYTES


def messages(count: int, size: int) -> list[OutgoingEvent]:
    return [OutgoingEvent("sagabus.event.i1.X", b"x" * size, f"i1:{n}") for n in range(count)]


def test_small_batch_is_one_chunk_and_an_empty_one_none() -> None:
    assert _chunks(messages(150, 500)) == [(0, 150)]
    assert _chunks([]) == []


def test_chunks_stay_far_below_what_a_stream_holds_back_and_cover_everything() -> None:
    for count, size in [(4_500, 10), (100, 800_000), (2_000, 10), (2_001, 10)]:
        batch = messages(count, size)
        ranges = _chunks(batch)
        assert [start for start, _ in ranges] == [0, *[end for _, end in ranges[:-1]]]
        assert ranges[-1][1] == count
        assert all(0 < end - start <= 2_000 for start, end in ranges)
        assert all((end - start) * size <= 8 * 1024 * 1024 for start, end in ranges)


def test_headers_count_towards_the_size_of_a_message() -> None:
    with pytest.raises(BadMessageError, match="larger than"):
        _chunks(messages(1, MAX_MESSAGE_BYTES))
