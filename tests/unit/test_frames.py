"""Messages as bytes of the protocol: as the driver would have written them."""

import pytest
from nats import errors as nats_errors
from nats.protocol import command

from sagabus_agents.frames import FrameClient, frame, payload_size


@pytest.mark.parametrize("reply", ["", "_INBOX.a.1"])
@pytest.mark.parametrize("data", [b"", b'{"a": "\xc3\xbc"}', b"x" * 70_000])
def test_message_is_written_as_the_driver_writes_it(reply: str, data: bytes) -> None:
    headers = b"NATS/1.0\r\nNats-Msg-Id: i1:2\r\n\r\n"
    expected = command.hpub_cmd("sagabus.event.i1.X", reply, headers, data)
    written = frame("sagabus.event.i1.X", data, msg_id="i1:2", reply=reply)
    assert written.replace(b"  ", b" ") == expected.replace(b"  ", b" ")


@pytest.mark.parametrize("reply", ["", "_INBOX.a.1"])
@pytest.mark.parametrize("data", [b"", b"+ACK"])
def test_message_without_id_is_written_as_the_driver_writes_it(reply: str, data: bytes) -> None:
    token = "$JS.ACK.SAGABUS_INBOX.p0-e1.1.2.3.4.5"
    written = frame(token, data, reply=reply)
    assert written.split() == command.pub_cmd(token, reply, data).split()


@pytest.mark.parametrize("bad", ["a b", "a\r\nPUB x 0", "a\n", "a\tb", "ä"])
def test_what_would_break_out_of_its_line_is_refused(bad: str) -> None:
    for subject, msg_id in ((bad, "1"), ("a", bad)):
        with pytest.raises(nats_errors.BadSubjectError):
            frame(subject, msg_id=msg_id)
    with pytest.raises(nats_errors.BadSubjectError):
        frame("a", reply=bad)


async def test_nothing_is_kept_for_a_connection_that_is_away() -> None:
    with pytest.raises(nats_errors.ConnectionReconnectingError):
        await FrameClient().publish_frames(frame("a"))


@pytest.mark.parametrize("msg_id", ["", "i1:2"])
def test_headers_count_as_the_server_counts_them(msg_id: str) -> None:
    line = frame("a", b"data", msg_id=msg_id).partition(b"\r\n")[0]
    assert payload_size(b"data", msg_id) == int(line.split()[-1])
