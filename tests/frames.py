"""What a client writes to a WebSocket, byte by byte."""

import struct

#: A handshake without the end of its head: more headers may follow.
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
#: It leaves what it hides as it is.
NO_MASK = b"\0\0\0\0"


def write_frame(first: int, data: bytes, mask: bytes | None = NO_MASK) -> bytes:
    """A frame of up to 65,535 bytes, with the shortest head; `mask` is None for one as only servers send it."""
    bit = 0 if mask is None else 0x80
    if len(data) < 126:
        head = struct.pack("!BB", first, bit | len(data))
    else:
        head = struct.pack("!BBH", first, bit | 126, len(data))
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
