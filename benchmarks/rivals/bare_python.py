"""The least that Python can do: the rivals' contract by hand, without GraphQL engine, database, users or TLS.

It passes each token on at once, and shows what the interpreter and the sockets cost by themselves, as the floor shows
it in C: nothing in it is a model for a server. Usage: `python -m benchmarks.rivals.bare_python PORT MODEL_PORT`.
"""

import asyncio
import sys
from functools import partial
from itertools import count
from typing import Any, cast

import httptools
import orjson
import uvloop

REQUEST = b"POST /v1/messages HTTP/1.1\r\nHost: model\r\nContent-Length: %d\r\n\r\n%b"
# The load generator sends the key of RFC 6455's example.
UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
NEXT = b'{"id":"%b","type":"next","payload":{"data":{"runEvents":{%b}}}}'
DELTA = b'"__typename":"TextDelta","messageId":"%b","offset":%d,"text":%b'
FINISHED = b'"__typename":"RunFinished","messageId":"%b","stopReason":"end_turn","outputTokens":1'
SENT = '{"id":"%s","type":"next","payload":{"data":{"sendMessage":{"runId":"%s","messageId":"%s"}}}}'
COMPLETE = '{"id":"%s","type":"complete"}'


class Reply:
    """A reply in the making, and who reads it."""

    def __init__(self, id: str) -> None:
        self.id = id.encode()
        self.text = ""
        self.finished = False
        self.readers: list[tuple[Client, bytes]] = []

    def add_reader(self, client: "Client", operation: str) -> None:
        self.readers.append((client, operation.encode()))
        if self.text:
            event = DELTA % (self.id, 0, orjson.dumps(self.text))
            client.send(NEXT % (operation.encode(), event))
        if self.finished:
            self.finish()

    def add(self, text: str) -> None:
        event = DELTA % (self.id, len(self.text), orjson.dumps(text))
        self.text += text
        for client, operation in self.readers:
            client.send(NEXT % (operation, event))

    def finish(self) -> None:
        self.finished = True
        for client, operation in self.readers:
            client.send(NEXT % (operation, FINISHED % self.id))
            client.send((COMPLETE % operation.decode()).encode())
        self.readers.clear()


class Answer(asyncio.Protocol):
    """The model's answer to one request."""

    def __init__(self, reply: Reply, prompt: str) -> None:
        self._reply = reply
        self._body = orjson.dumps({"stream": True, "messages": [{"role": "user", "content": prompt}]})
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(REQUEST % (len(self._body), self._body))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            name, _, data = event.partition(b"\ndata: ")
            if name == b"event: content_block_delta":
                self._reply.add(orjson.loads(data)["delta"]["text"])
            elif name == b"event: message_stop":
                self._reply.finish()


class Client(asyncio.Protocol):
    """A WebSocket whose frames are all whole and short."""

    _replies: dict[str, Reply] = {}  # noqa: RUF012 - of all clients
    _numbers = count()

    def __init__(self, model_port: int) -> None:
        self._model_port = model_port
        self._data = b""
        self._upgraded = False
        self._dialling: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, message: bytes) -> None:
        length = len(message)
        head = bytes((0x81, length)) if length < 126 else b"\x81\x7e" + length.to_bytes(2)
        self._transport.write(head + message)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._upgraded:
            head, end, self._data = self._data.partition(b"\r\n\r\n")
            if not end:
                self._data = head
                return
            self._upgraded = True
            self._transport.write(UPGRADE)
        while (text := self._take_frame()) is not None:
            self._take(orjson.loads(text))

    def _take_frame(self) -> bytes | None:
        data = self._data
        if len(data) < 6:
            return None
        length, start = data[1] & 0x7F, 6
        if length == 126:
            length, start = int.from_bytes(data[2:4]), 8
        if len(data) < start + length:
            return None
        mask, masked = data[start - 4 : start], data[start : start + length]
        self._data = data[start + length :]
        pad = (mask * (length // 4 + 1))[:length]
        return (int.from_bytes(masked) ^ int.from_bytes(pad)).to_bytes(length)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "connection_init":
            self.send(b'{"type":"connection_ack"}')
        elif message["type"] == "subscribe":
            payload = message["payload"]
            if "sendMessage" in payload["query"]:
                self._begin(message["id"], payload["variables"]["input"]["text"])
            else:
                self._replies[payload["variables"]["runId"]].add_reader(self, message["id"])

    def _begin(self, operation: str, prompt: str) -> None:
        id = str(next(self._numbers))
        self._replies[id] = reply = Reply(id)
        dial = asyncio.get_running_loop().create_connection(
            partial(Answer, reply, prompt), "127.0.0.1", self._model_port
        )
        self._dialling = asyncio.create_task(dial)
        self.send((SENT % (operation, id, id)).encode())
        self.send((COMPLETE % operation).encode())


async def serve(port: int, model_port: int) -> None:
    server = await asyncio.get_running_loop().create_server(partial(Client, model_port), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:])))
