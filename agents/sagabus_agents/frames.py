"""Messages as the bytes of the NATS client protocol.

The driver checks, encodes and hands on each message by itself: 3 us each, a tenth of the time of a
partition's thread. Subjects and ids made here consist of ids that were checked where they came in.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol (PUB, HPUB).
"""

from typing import Any

from nats import errors as nats_errors
from nats.aio.client import Client

MSG_ID = "Nats-Msg-Id"


def frame(subject: str, data: bytes = b"", *, msg_id: str = "", reply: str = "") -> bytes:
    """One message; without ``msg_id`` it has no headers, without ``reply`` it asks for nothing.

    Raises:
        BadSubjectError: a subject or the id would not stay within its line.
    """
    _check(subject + msg_id + reply)
    asking = f"{reply} " if reply else ""
    headers = _headers(msg_id)
    if not headers:
        line = f"PUB {subject} {asking}{len(data)}\r\n"
    else:
        size = len(headers)
        line = f"HPUB {subject} {asking}{size} {size + len(data)}\r\n{headers}"
    return b"".join((line.encode("ascii"), data, b"\r\n"))


def payload_size(data: bytes, msg_id: str = "") -> int:
    """Bytes of a message that count against the server's ``max_payload``.

    The server closes the connection of who sends more.
    """
    return len(_headers(msg_id)) + len(data)


def _headers(msg_id: str) -> str:
    return f"NATS/1.0\r\n{MSG_ID}: {msg_id}\r\n\r\n" if msg_id else ""


def _check(text: str) -> None:
    # What would end the subject or its line; a set of these takes ten times as long.
    if " " in text or "\t" in text or "\r" in text or "\n" in text or not text.isascii():
        raise nats_errors.BadSubjectError


class FrameClient(Client):
    """The driver's client, which also takes messages as ``frame`` makes them."""

    async def publish_frames(self, frames: bytes) -> None:
        """Send any number of frames; waits like ``publish`` where too much is pending.

        Raises:
            ConnectionReconnectingError: not connected; unlike ``publish``, nothing is kept for
                later.
        """
        if not self.is_connected:
            raise nats_errors.ConnectionReconnectingError
        await self._send_command(frames)
        # Who waits to flush takes this along.
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        """As the driver's, which raises for a moment where the socket is closed under uvloop.

        Its flusher has ended by then, and its reader has not looked: that one reconnects, and what
        is pending is sent then, as whenever the driver knows that it is not connected.
        """
        try:
            return await super()._flush_pending(force_flush)
        except RuntimeError:
            if not self._has_closed_socket:
                raise

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """As the driver's, but for what is pending and can only be written to a closed socket."""
        if self._has_closed_socket:
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    @property
    def _has_closed_socket(self) -> bool:
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and bool(writer.transport.is_closing())
