"""Answers over real sockets: whole however they come, with a clean error where they do not, and no connection lost."""

import asyncio
import contextlib
import datetime
import ipaddress
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent import happy_eyeballs, http_transport
from agent.http_connection import READ_AHEAD
from agent.http_transport import AnswerBody, StreamingTransport
from agent.socket_poller import LoopPoller, make_poller
from tests.conftest import PATIENCE, until


class Visit:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.written = 0

    async def read_request(self) -> bytes:
        """Head and body; nothing once the client has hung up."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        return head + await self._reader.readexactly(int(length.partition(b":")[2]))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self.written += len(data)

    async def hung_up(self) -> None:
        """Return once the client has closed the connection."""
        try:
            while await self._reader.read(1000):
                pass
        except ConnectionError:
            pass

    async def read_some(self, length: int) -> None:
        """A part of what the client says."""
        await self._reader.readexactly(length)

    def hang_up(self) -> None:
        self._writer.close()

    def cut_off(self) -> None:
        """End it at once, as far as the system is concerned, and without a word of TLS."""
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


class Raw:
    """A server that says what a test wants, byte for byte."""

    def __init__(self, converse: Callable[[Visit], Awaitable[None]]) -> None:
        self.url = ""
        self.visits: list[Visit] = []
        self.open = 0
        self._converse = converse

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        self.visits.append(visit)
        self.open += 1
        try:
            await self._converse(visit)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serve(
    converse: Callable[[Visit], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Raw]:
    raw = Raw(converse)
    server = await asyncio.start_server(raw.welcome, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    raw.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield raw
    finally:
        server.close()


def saying(*pieces: bytes, hang_up: bool = False) -> Callable[[Visit], Awaitable[None]]:
    """Answers every request so, a pause between two pieces."""

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            for piece in pieces:
                await visit.write(piece)
                await asyncio.sleep(0.001)
            if hang_up:
                return

    return converse


def client(
    *, read: float = PATIENCE, connect: float = PATIENCE, tls: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=StreamingTransport(tls), timeout=httpx2.Timeout(PATIENCE, read=read, connect=connect)
    )


async def one_of_some_tries(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until the answer is not too late: others use this machine, too, and pauses of theirs count as silence."""
    for _ in range(4):
        with contextlib.suppress(httpx2.ReadTimeout):
            return await ask()
    return await ask()


def body_of(response: httpx2.Response) -> AnswerBody:
    body = response.extensions["answer_body"]
    assert isinstance(body, AnswerBody)
    return body


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED_HELLO = CHUNKED + b"2\r\nhe\r\n3;extension\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
WITH_TRAILER = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.fixture(params=[make_poller, LoopPoller], ids=["the system's poller", "the loop's poller"])
def _each_poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "make_poller", request.param)


#: For what must be so whatever this system's way of reading sockets is.
over_each_poller = pytest.mark.usefixtures("_each_poller")


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate of its own making, and that certificate's file."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    key_file, file = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return context, file


@pytest.fixture
def trusting(tls_server: tuple[ssl.SSLContext, Path]) -> ssl.SSLContext:
    """A client's TLS that trusts that server."""
    return ssl.create_default_context(cafile=str(tls_server[1]))


@pytest.fixture(params=[False, True], ids=["in the clear", "by TLS"])
def server_tls(request: pytest.FixtureRequest, tls_server: tuple[ssl.SSLContext, Path]) -> ssl.SSLContext | None:
    """What a server needs for each of the schemes."""
    return tls_server[0] if request.param else None


# Whole answers


@over_each_poller
@pytest.mark.parametrize("answer", [HELLO, CHUNKED_HELLO, UNTIL_CLOSE, WITH_TRAILER])
@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_an_answer_is_whole_however_its_length_is_told_and_its_bytes_are_cut(answer: bytes, cut: int) -> None:
    pieces = [answer[start : start + cut] for start in range(0, len(answer), cut)]
    async with serve(saying(*pieces, hang_up=answer == UNTIL_CLOSE)) as server, client() as http:
        response = await http.post(server.url, content=b"question")
        assert (response.status_code, response.content) == (200, b"hello")


async def test_a_request_comes_as_it_was_made() -> None:
    asked: list[bytes] = []

    async def converse(visit: Visit) -> None:
        asked.append(await visit.read_request())
        await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        await http.post(server.url + "a?b=c", content=b"question", headers={"X-Key": "secret"})
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n") and body == b"question"
    assert b"x-key: secret" in head.lower() and b"host: 127.0.0.1" in head.lower()


@pytest.mark.parametrize("first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_an_answer_that_goes_before_the_answer_is_passed_over(first: bytes) -> None:
    async with serve(saying(first, HELLO)) as server, client() as http:
        for _ in range(2):
            response = await http.get(server.url)
            assert response.text == "hello" and "link" not in response.headers
    assert len(server.visits) == 1


async def test_an_answer_without_a_body_ends_with_its_head() -> None:
    async with serve(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server, client() as http:
        assert [(await http.get(server.url)).status_code for _ in range(2)] == [204, 204]
    assert len(server.visits) == 1


async def test_a_redirect_is_followed() -> None:
    async def converse(visit: Visit) -> None:
        while request := await visit.read_request():
            found = b"HTTP/1.1 307 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
            await visit.write(HELLO if b"/there" in request else found)

    async with serve(converse) as server, client() as http:
        response = await http.post(server.url, content=b"question", follow_redirects=True)
    assert response.text == "hello" and len(server.visits) == 1


# Answers that fail


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", CHUNKED, CHUNKED + b"5\r\nhello\r\n", HELLO[:-1]],
    ids=["nothing", "part of the head", "head", "no last chunk", "too short"],
)
async def test_an_answer_that_is_cut_is_an_error(answer: bytes) -> None:
    async with serve(saying(answer, hang_up=True)) as server, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)


@over_each_poller
async def test_what_came_before_a_cut_is_read() -> None:
    answer = saying(CHUNKED + b"5\r\nhello\r\n", hang_up=True)
    async with serve(answer) as server, client() as http, http.stream("GET", server.url) as response:
        await asyncio.sleep(0.05)
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"hello"
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(pieces)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        CHUNKED + b"not a length\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_an_error(answer: bytes) -> None:
    async with serve(saying(answer)) as server, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)
        await until(lambda: server.open == 0)


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with serve(saying(HELLO)) as server:
        pass
    async with client() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(server.url)
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://no.such.host.invalid/")


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: nobody takes what already waits there."""
    with socket.create_server(("127.0.0.2", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(4):
            visitor = waiting.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(listener.getsockname())
        yield listener.getsockname()


#: A host whose addresses a test chooses.
HOST = "http://model.test/"


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **more: Any) -> Any:
        if host != "model.test":
            return await resolve(host, port, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


def address_of(server: Raw) -> tuple[str, int]:
    url = httpx2.URL(server.url)
    return url.host, url.port or 0


async def test_an_address_that_answers_nothing_does_not_hold_up_the_next(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(saying(HELLO)) as server, client(connect=30) as http:
        resolve_to(monkeypatch, deaf, address_of(server))
        assert (await http.get(HOST)).text == "hello"


async def test_an_address_that_refuses_is_passed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(saying(HELLO)) as gone:
        pass
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", 600)
    async with serve(saying(HELLO)) as server, client(connect=30) as http:
        resolve_to(monkeypatch, address_of(gone), address_of(server))
        assert (await http.get(HOST)).text == "hello"


@pytest.mark.parametrize("addresses", [0, 2])
async def test_a_host_without_an_address_that_answers_is_an_error(
    addresses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(saying(HELLO)) as gone:
        pass
    async with client() as http:
        resolve_to(monkeypatch, *[address_of(gone)] * addresses)
        with pytest.raises(httpx2.ConnectError):
            await http.get(HOST)


async def test_addresses_that_all_answer_nothing_take_no_longer_than_one(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(connect=0.4) as http:
        resolve_to(monkeypatch, deaf, deaf)
        with pytest.raises(httpx2.ConnectTimeout):
            await http.get(HOST)


async def test_connecting_may_not_take_for_ever() -> None:
    async def say_nothing(visit: Visit) -> None:
        await visit.hung_up()

    async with serve(say_nothing) as server, client(connect=0.1) as http:
        with pytest.raises(httpx2.ConnectTimeout):
            # It waits for the other side of TLS.
            await http.get(server.url.replace("http:", "https:"))
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("before", [b"", CHUNKED, CHUNKED + b"5\r\nhello\r\n"])
async def test_a_server_may_not_be_silent_for_ever(before: bytes) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(before)
        await visit.hung_up()

    async with serve(converse) as server, client(read=0.2) as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(server.url)
        await until(lambda: server.open == 0)


async def test_an_answer_may_take_longer_than_any_silence_in_it() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await visit.write(b"1\r\nx\r\n")
        await visit.write(b"0\r\n\r\n")

    async def ask() -> None:
        async with client(read=0.5) as http:
            assert (await http.get(server.url)).text == "x" * 8

    async with serve(converse) as server:
        await one_of_some_tries(ask)


@pytest.mark.parametrize("key", ["secret\n", "secret\r\nX-Other: 1"])
async def test_a_header_cannot_write_other_headers(key: str) -> None:
    async with serve(saying(HELLO)) as server, client() as http:
        with pytest.raises(httpx2.LocalProtocolError):
            await http.get(server.url, headers={"X-Key": key})
    assert server.visits == []


# Connections


@over_each_poller
async def test_a_connection_is_used_again() -> None:
    async with serve(saying(CHUNKED_HELLO)) as server, client() as http:
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


async def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    async with serve(saying(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) as server, client() as http:
        for _ in range(2):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 2


@over_each_poller
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async with serve(saying(HELLO, hang_up=True)) as server, client() as http:
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
            await until(lambda: server.open == 0)
            await asyncio.sleep(0.02)
    assert len(server.visits) == 3


@pytest.mark.parametrize("more", [HELLO, b"HTTP/1.1 200 OK\r\n", b"noise"])
async def test_what_was_not_asked_for_is_no_answer_to_the_next_request(more: bytes) -> None:
    evil = HELLO.replace(b"hello", b"evil!")
    for pieces in ((HELLO + more.replace(HELLO, evil),), (HELLO, more.replace(HELLO, evil))):

        def has_said_all(length: int = len(b"".join(pieces))) -> bool:
            return server.visits[-1].written == length

        async with serve(saying(*pieces)) as server, client() as http:
            for _ in range(2):
                assert (await http.get(server.url)).text == "hello"
                await until(has_said_all)
                await asyncio.sleep(0.02)
        assert len(server.visits) == 2


async def test_a_kept_connection_that_the_server_has_just_closed_is_not_asked_again() -> None:
    asked: list[Visit] = []

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            asked.append(visit)
            await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        await http.get(server.url)
        # Nothing comes between this and the next request: no poller could look.
        server.visits[0].cut_off()
        with contextlib.suppress(httpx2.RemoteProtocolError):
            await http.get(server.url)
        assert (await http.get(server.url)).text == "hello"
    assert asked.count(server.visits[0]) == 1


async def test_a_kept_connection_that_the_server_has_just_closed_costs_the_next_request_nothing() -> None:
    async with serve(saying(HELLO)) as server, client() as http:
        await http.get(server.url)
        server.visits[0].cut_off()
        assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 2


async def test_a_connection_that_breaks_when_it_is_asked_again_is_a_clean_error() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(HELLO)
        await visit.read_request()

    async with serve(converse) as server, client() as http:
        await http.get(server.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)
        assert (await http.get(server.url)).text == "hello"


async def test_a_server_that_hangs_up_at_once_is_a_clean_error() -> None:
    async def converse(visit: Visit) -> None:
        visit.hang_up()

    async with serve(converse) as server, client(read=600) as http, asyncio.timeout(60):
        for _ in range(20):
            with pytest.raises(httpx2.TransportError):
                await http.get(server.url)


async def test_a_connection_whose_answer_ends_after_its_client_is_not_kept() -> None:
    async with serve(saying(CHUNKED_HELLO)) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            await http.aclose()
            assert b"".join([piece async for piece in response.aiter_raw()]) == b"hello"
        await until(lambda: server.open == 0)


async def test_any_number_of_answers_may_be_read_at_a_time_and_some_connections_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_transport, "MOST_IDLE", 7)
    all_asked = asyncio.Event()

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            if server.open == 150:
                all_asked.set()
            await all_asked.wait()
            await visit.write(HELLO)

    async with serve(converse) as server:
        async with client() as http:
            await asyncio.gather(*(http.get(server.url) for _ in range(150)))
            await until(lambda: server.open == 7)
        await until(lambda: server.open == 0)


@over_each_poller
async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "KEEP_ALIVE", 0.05)
    async with serve(saying(HELLO)) as server, client() as http:
        await http.get(server.url)
        assert server.open == 1
        await until(lambda: server.open == 0)


async def test_a_connection_that_is_used_again_is_not_closed_for_its_idleness_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_transport, "KEEP_ALIVE", 0.05)

    async def converse(visit: Visit) -> None:
        for pause in (0.0, 0.15):
            await visit.read_request()
            await asyncio.sleep(pause)
            await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        for _ in range(2):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


@over_each_poller
@pytest.mark.parametrize("before", [b"", CHUNKED + b"5\r\nhello\r\n"])
async def test_who_is_cancelled_hangs_up(before: bytes) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(before)
        await visit.hung_up()

    async with serve(converse) as server, client() as http:
        asking = asyncio.create_task(http.get(server.url))
        await until(lambda: server.open == 1)
        await asyncio.sleep(0.02)
        asking.cancel()
        await until(lambda: server.open == 0)
        assert asking.cancelled()


@over_each_poller
async def test_who_leaves_an_answer_early_hangs_up() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED + b"5\r\nhello\r\n")
        await visit.hung_up()

    async with serve(converse) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            assert await anext(response.aiter_raw()) == b"hello"
        await until(lambda: server.open == 0)
        with pytest.raises(httpx2.StreamClosed):
            await body_of(response).feed(lambda piece: True)


@over_each_poller
async def test_who_leaves_an_answer_that_has_come_whole_is_answered_the_next_time() -> None:
    # Its last piece is the one that is too much.
    length = READ_AHEAD
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    async with serve(saying(answer)) as server, client(read=10) as http:
        for _ in range(3):
            async with http.stream("GET", server.url) as response:
                await asyncio.sleep(0.02)
                assert response.status_code == 200
            assert len((await http.get(server.url)).content) == length


# Requests that a socket does not take at once

#: That many bytes no two sockets hold.
LONG = random.Random(7).randbytes(24 * 1024 * 1024)


@over_each_poller
async def test_a_long_request_comes_whole_to_a_server_that_is_slow(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await asyncio.sleep(0.1)
        while request := await visit.read_request():
            await visit.write(HELLO if request.endswith(b"\r\n\r\n" + LONG) else HELLO.replace(b"hello", b"wrong"))

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        for _ in range(2):
            assert (await http.post(server.url, content=LONG)).text == "hello"
    assert len(server.visits) == 1


async def test_a_server_that_closes_while_a_long_request_is_written_is_a_clean_error(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(50_000)

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post(server.url, content=LONG)


async def test_a_server_that_answers_and_closes_before_it_has_the_whole_request_is_heard(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(50_000)
        await visit.write(HELLO.replace(b"200 OK", b"413 Content Too Large"))

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        response = await http.post(server.url, content=LONG)
        assert (response.status_code, response.text) == (413, "hello")


# A reader and its answer


@over_each_poller
async def test_a_server_waits_for_a_reader_that_is_slow_and_is_not_blamed_for_the_silence() -> None:
    total = 64 * 1024 * 1024

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // 65536):
            await visit.write(b"x" * 65536)
        await visit.hung_up()

    async def ask() -> None:
        async with client(read=0.2) as http, http.stream("GET", server.url) as response:
            await asyncio.sleep(0.6)
            # What the sockets hold comes on top.
            assert server.visits[-1].written < READ_AHEAD + 24 * 1024 * 1024
            assert sum([len(piece) async for piece in response.aiter_raw()]) == total

    async with serve(converse) as server:
        await one_of_some_tries(ask)


@over_each_poller
async def test_pieces_are_taken_at_once_and_in_order_until_one_is_refused() -> None:
    said, said_so_far = asyncio.Event(), bytearray()

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for letter in b"abcdef":
            # Each that is wanted is taken before the next is said.
            await until(lambda: b"".join(taken) in (said_so_far, b"abc"))
            said_so_far.append(letter)
            await visit.write(b"1\r\n%c\r\n" % letter)
            await asyncio.sleep(0.005)
        said.set()
        await visit.write(b"0\r\n\r\n")
        await visit.hung_up()

    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return b"c" not in piece

    async with serve(converse) as server, client() as http, http.stream("GET", server.url) as response:
        body = body_of(response)
        assert await body.feed(take)
        assert b"".join(taken) == b"abc"
        await said.wait()
        await asyncio.sleep(0.02)
        assert b"".join(taken) == b"abc"
        assert not await body.feed(take)
        assert b"".join(taken) == b"abcdef" and taken[-1] == b"def"


async def test_what_goes_wrong_in_taking_a_piece_is_the_readers_and_no_more_is_taken() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for _ in range(5):
            await asyncio.sleep(0.005)
            await visit.write(b"1\r\nx\r\n")
            await until(lambda: taken != [])
        await visit.hung_up()

    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        raise ZeroDivisionError

    async with serve(converse) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            with pytest.raises(ZeroDivisionError):
                await body_of(response).feed(take)
            await asyncio.sleep(0.05)
            assert taken == [b"x"]
        await until(lambda: server.open == 0)
        async with http.stream("GET", server.url) as response:
            assert (await anext(response.aiter_raw())).startswith(b"x")


async def test_a_reader_that_fails_at_the_last_piece_leaves_the_connection_to_the_next() -> None:
    def take(piece: bytes) -> bool:
        raise ZeroDivisionError

    async with serve(saying(CHUNKED, CHUNKED_HELLO[len(CHUNKED) :])) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            with pytest.raises(ZeroDivisionError):
                await body_of(response).feed(take)
        assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


# TLS


@over_each_poller
async def test_answers_come_over_tls(tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext) -> None:
    async with (
        serve(saying(CHUNKED, CHUNKED_HELLO[len(CHUNKED) :]), tls=tls_server[0]) as server,
        client(tls=trusting) as http,
    ):
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: tuple[ssl.SSLContext, Path]) -> None:
    async with serve(saying(HELLO), tls=tls_server[0]) as server, client() as http:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(server.url)


async def test_the_certificate_of_another_host_is_refused(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async with serve(saying(HELLO), tls=tls_server[0]) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(server.url.replace("127.0.0.1", "localhost"))


async def test_an_answer_over_tls_that_is_cut_is_an_error(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async with serve(saying(HELLO[:-1], hang_up=True), tls=tls_server[0]) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)


async def test_an_answer_of_many_records_comes_whole(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LONG)
    async with serve(saying(head + LONG), tls=tls_server[0]) as server, client(tls=trusting) as http:
        assert (await http.get(server.url)).content == LONG


@asynccontextmanager
async def byte_by_byte(server: Raw) -> AsyncIterator[str]:
    """A URL of the server where each byte that it says comes by itself."""

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection(*address_of(server))

        async def ask() -> None:
            while request := await reader.read(65536):
                asks.write(request)

        asking = asyncio.create_task(ask())
        while answer := await answers.read(65536):
            for byte in answer:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
        writer.close()
        asking.cancel()
        asks.close()

    relay = await asyncio.start_server(visited, "127.0.0.1", 0)
    try:
        yield str(httpx2.URL(server.url).copy_with(port=relay.sockets[0].getsockname()[1]))
    finally:
        relay.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_records_may_be_cut_anywhere(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.maximum_version = version
    answer = saying(UNTIL_CLOSE[:9], UNTIL_CLOSE[9:-3], UNTIL_CLOSE[-3:], hang_up=True)
    async with serve(answer, tls=tls_server[0]) as server, byte_by_byte(server) as url, client(tls=trusting) as http:
        assert (await http.get(url)).text == "hello"


async def test_the_end_of_an_answer_that_ends_by_closing_must_be_told_by_tls(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        request = await visit.read_request()
        await visit.write(UNTIL_CLOSE)
        if b"/cut" in request:
            visit.cut_off()

    async with serve(converse, tls=tls_server[0]) as server, client(tls=trusting) as http:
        assert (await http.get(server.url)).text == "hello"
        with pytest.raises(httpx2.RemoteProtocolError, match="without the end of TLS"):
            await http.get(server.url + "cut")


async def test_an_answer_whose_end_comes_with_more_than_is_read_ahead_is_whole(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    ended = asyncio.Event()

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(UNTIL_CLOSE + bytes(READ_AHEAD - 10_000))
        await asyncio.sleep(0.1)
        # At once, so that it is read at once.
        await visit.write(bytes(20_000))
        visit.hang_up()
        ended.set()

    async with (
        serve(converse, tls=tls_server[0]) as server,
        client(tls=trusting) as http,
        http.stream("GET", server.url) as response,
    ):
        await ended.wait()
        await asyncio.sleep(0.1)
        assert sum([len(piece) async for piece in response.aiter_raw()]) == len(b"hello") + READ_AHEAD + 10_000


@pytest.mark.parametrize(
    "said",
    [b"", b"\x16\x03\x03\x00\x7a\x02\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["nothing", "part of a record", "a refusal", "no TLS"],
)
async def test_a_handshake_that_the_server_breaks_off_is_an_error(said: bytes, trusting: ssl.SSLContext) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(100)
        await visit.write(said)

    async with serve(converse) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(server.url.replace("http:", "https:"))
        await until(lambda: server.open == 0)
