"""uvicorn's HTTP within limits: no application sees headers that never end, and requests that nobody waits for."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.transport.wire import PIECE, close, format_refusal

#: Bytes that may come without any of them being for the application: address, headers and trailers of a request.
HEAD_BYTES = 32 * 1024
#: Seconds that a client has for them, and for the first of them once it is connected.
HEAD_TIMEOUT = 30.0
#: Requests that wait for the answer of another on the same connection.
PIPELINED = 100


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with limits for what comes before a request reaches the application.

    They are for the bytes since the application was last given anything, whatever these bytes are.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unheard = 0
        self._unheard_since = self.loop.time()
        self._is_upgraded = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_TIMEOUT, self._check_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if self._is_upgraded or self.transport.is_closing():
                # As with uvicorn, frames that come before the handshake is answered are lost.
                return
            piece = data[start : start + PIECE]
            if not self._unheard:
                self._unheard_since = self.loop.time()
            self._unheard += len(piece)
            super().data_received(piece)
            if self._unheard > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Address and headers are too long.")
            elif len(self.pipeline) > PIPELINED:
                # uvicorn stops reading only after all that came, and reads on with each answer.
                close(self)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._unheard = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._unheard = 0

    def handle_websocket_upgrade(self) -> None:
        self._is_upgraded = True
        self._forget_patience()
        super().handle_websocket_upgrade()
        # Each holds the other: neither would go before the next search for garbage.
        del self.parser

    def _check_patience(self) -> None:
        # One timer for the connection: it looks again when what is coming now would be too late.
        now = self.loop.time()
        waits = self.cycle is None or (self._unheard > 0 and not self._is_answering())
        left = self._unheard_since + HEAD_TIMEOUT - now if waits else HEAD_TIMEOUT
        if left > 0:
            self._patience = self.loop.call_later(left, self._check_patience)
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long.")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        # Behind a request that is still being answered, it would pass for the answer to that one.
        if self._unheard and (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.write(format_refusal(status, message))
        close(self)

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
