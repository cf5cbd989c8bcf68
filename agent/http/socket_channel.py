"""The bytes of one connected socket, in the clear or by TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeAlias

from agent.http.socket_poller import SocketPoller

#: Bytes that are read at once.
READ_SIZE = 64 * 1024

#: Is given what has come; nothing once the other side has ended its half.
Receive: TypeAlias = Callable[[bytes], None]
#: Is told that the connection broke.
Fail: TypeAlias = Callable[[OSError], None]


class Channel:
    """Bytes as they come, by a poller's callbacks; none come before `listen`."""

    __slots__ = ("_fail", "_poller", "_receive", "_socket", "_unsent", "_write_error")

    def __init__(self, connected: socket.socket, poller: SocketPoller) -> None:
        self._socket = connected
        self._poller = poller
        self._receive: Receive | None = None
        self._fail: Fail | None = None
        self._unsent = bytearray()
        self._write_error: OSError | None = None

    def listen(self, receive: Receive, fail: Fail) -> None:
        """Hand on what comes, until `close`. Raises `OSError`."""
        self._poller.watch(self._socket, self.read)
        self._receive, self._fail = receive, fail

    @property
    def is_sending(self) -> bool:
        """Whether something written is still to be sent."""
        return bool(self._unsent)

    def count(self, pieces: int) -> None:
        """Tell the poller in how many pieces it came."""
        self._poller.count(pieces)

    def read(self) -> None:
        """Hand on what has come, if anything has."""
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if not data and self._write_error is not None:
            # To the socket this is an end like any other, once it has told the error.
            self._break(self._write_error)
            return
        self._take(data)

    def write(self, data: bytes) -> None:
        """Send it, what the socket does not take at once later. That it failed is known from reading."""
        if not self._unsent:
            data = data[self._send(data) :]
            if not data:
                return
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._write_more)
        self._unsent += data

    def pause(self) -> None:
        """Leave what comes to the kernel, and so to the other side."""
        if self._receive is not None:
            self._poller.forget(self._socket)

    def resume(self) -> None:
        if self._receive is not None:
            self._poller.watch(self._socket, self.read)

    def close(self) -> None:
        """Close it at once, also with something unsent; nothing is called afterwards."""
        self._receive = self._fail = None
        if self._socket.fileno() >= 0:
            self._poller.forget(self._socket)
            self._end_writing()
            self._socket.close()

    def _take(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)

    def _break(self, error: OSError) -> None:
        if self._fail is not None:
            self._fail(error)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The other side may have answered before.
            self._write_error = error
            return len(data)

    def _write_more(self) -> None:
        del self._unsent[: self._send(self._unsent)]
        if not self._unsent:
            self._end_writing()

    def _end_writing(self) -> None:
        asyncio.get_running_loop().remove_writer(self._socket.fileno())
        self._unsent.clear()


class TlsChannel(Channel):
    """A channel whose bytes are encrypted."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, connected: socket.socket, poller: SocketPoller, context: ssl.SSLContext, name: str) -> None:
        """`name` is that which the certificate must have."""
        super().__init__(connected, poller)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def listen(self, receive: Receive, fail: Fail) -> None:
        super().listen(receive, fail)
        if early := self._incoming.read():
            # It came right behind the handshake.
            self._take(early)

    async def shake_hands(self) -> None:
        """To be done before anything else. Raises `OSError`, of which `ssl.SSLError` is one."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send_handshake(loop)
                data = await loop.sock_recv(self._socket, READ_SIZE)
                if not data:
                    raise ConnectionResetError("The connection ended during the TLS handshake.") from None
                self._incoming.write(data)
            except ssl.SSLError:
                # What is wrong, for the other side.
                await self._send_handshake(loop)
                raise
            else:
                await self._send_handshake(loop)
                return

    async def _send_handshake(self, loop: asyncio.AbstractEventLoop) -> None:
        if data := self._outgoing.read():
            await loop.sock_sendall(self._socket, data)

    def write(self, data: bytes) -> None:
        """As `Channel.write`. Raises `ssl.SSLError` while the other side asks for another handshake."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        super().write(self._outgoing.read())

    def _take(self, data: bytes) -> None:
        if not data:
            # Whoever cuts the connection can do this; only the other side can say that it has said all.
            self._break(ConnectionResetError("It ended without the end of TLS."))
            return
        self._incoming.write(data)
        pieces, error, ended = [], None, False
        try:
            while not ended:
                piece = self._tls.read(READ_SIZE)
                pieces.append(piece)
                ended = not piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as failure:
            error = failure
        if self._outgoing.pending:
            # An answer to a message of TLS itself.
            super().write(self._outgoing.read())
        if clear := b"".join(pieces):
            super()._take(clear)
        if error is not None:
            self._break(error)
        elif ended:
            super()._take(b"")
