"""A key server as an identity provider has one, on a real socket: it publishes keys, and fails when it is told to."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

Algorithm = Literal["RS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


def encode(data: bytes) -> str:
    """Base64url as tokens have it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def claims_of(subject: str = "ann", **more: Any) -> dict[str, Any]:
    """The claims of a valid token; `...` leaves one out."""
    claims = {"sub": subject, "exp": int(time.time()) + 3600, **more}
    return {name: value for name, value in claims.items() if value is not ...}


def forge(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token put together by hand: a library refuses to make wrong ones."""
    signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{signed}.{encode(sign(signed.encode()))}"


def hmac_by(secret: bytes) -> Callable[[bytes], bytes]:
    """Signs as HS256 does."""
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()


@dataclass(frozen=True)
class SigningKey:
    """A private key and the name that its public half is published under."""

    algorithm: Algorithm
    id: str | None
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as it is published."""
        public: dict[str, Any] = get_default_algorithms()[self.algorithm].to_jwk(
            self.private.public_key(), as_dict=True
        )
        return {**public, "alg": self.algorithm, "use": "sig", **({"kid": self.id} if self.id else {})}

    @property
    def private_jwk(self) -> dict[str, Any]:
        """The whole key, as it must never be published."""
        jwk: dict[str, Any] = get_default_algorithms()[self.algorithm].to_jwk(self.private, as_dict=True)
        return jwk

    @property
    def pem(self) -> bytes:
        """The public half, as a file."""
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def sign(self, data: bytes) -> bytes:
        return get_default_algorithms()[self.algorithm].sign(data, self.private)

    def issue(self, subject: str = "ann", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for `subject`; a header or claim that is `...` is left out."""
        headers = {"typ": "JWT", "alg": self.algorithm, "kid": self.id or ..., **(header or {})}
        headers = {name: value for name, value in headers.items() if value is not ...}
        return forge(headers, claims_of(subject, **claims), self.sign)

    def bearer(self, subject: str = "ann", **more: Any) -> str:
        """The `Authorization` with such a token."""
        return f"Bearer {self.issue(subject, **more)}"


@cache
def create_key(algorithm: Algorithm, id: str | None = "1", *, bits: int = 2048) -> SigningKey:
    """The same key for the same name, for RSA keys take long to find."""
    private: Any
    if algorithm == "RS256":
        private = rsa.generate_private_key(65537, bits)
    elif algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(algorithm, id, private)


@dataclass
class KeyServer:
    """A server at `url`; `requests` counts what it was asked."""

    url: str
    requests: int = 0
    _write: Write = field(init=False)

    def __post_init__(self) -> None:
        self.publish()

    def publish(self, *keys: SigningKey | dict[str, Any]) -> None:
        """Answer with these keys, from now on."""
        self.answer({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]})

    def answer(self, body: Any, *, status: int = 200, delay: float = 0, headers: str = "") -> None:
        """Answer with this, made JSON unless it is bytes; `delay` in seconds, `headers` end with CRLF each."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}"

        async def write(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(delay)
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)

        self._write = write

    def hang(self) -> None:
        """Take requests and say nothing."""

        async def write(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3600)

        self._write = write

    def drip(self, piece: bytes = b" ", *, pause: float = 0.02) -> None:
        """Send an answer without an end, piece by piece; `pause` in seconds."""

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

        self._write = write

    def drop(self) -> None:
        """Close the connection in the middle of an answer."""

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(b'HTTP/1.1 200 X\r\nContent-Length: 999\r\n\r\n{"keys": [')

        self._write = write

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request on a connection."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self._write(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def run_key_server() -> AsyncIterator[KeyServer]:
    """A key server of one's own; it has no keys yet."""
    handlers: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(task := asyncio.create_task(server.serve(reader, writer)))
        task.add_done_callback(handlers.discard)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server = KeyServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/jwks.json")
    try:
        yield server
    finally:
        listener.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
