"""Connecting to whichever address of a host answers first, as RFC 8305 has it.

The libraries' own ways try one address after the other: one that answers nothing, as with an IPv6 route that leads
nowhere, would use up the whole time.
"""

import asyncio
import socket
from typing import Any

#: Seconds that an address has for itself before the next one is tried beside it.
HEAD_START = 0.25


async def open_socket(host: str, port: int) -> socket.socket:
    """A connected TCP socket, non-blocking. Raises OSError."""
    loop = asyncio.get_running_loop()
    addresses = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    attempts: list[asyncio.Task[socket.socket]] = []
    running: set[asyncio.Task[socket.socket]] = set()
    winner = None
    try:
        while winner is None and (addresses or running):
            if addresses:
                attempts.append(asyncio.create_task(_connect(*addresses.pop(0))))
                running.add(attempts[-1])
            head_start = HEAD_START if addresses else None
            ended, running = await asyncio.wait(running, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            winner = next((attempt for attempt in ended if attempt.exception() is None), None)
        if not attempts:
            raise OSError(f"{host} has no address.")
        # The system prefers the first address: its failure says most.
        return (winner or attempts[0]).result()
    finally:
        for attempt in attempts:
            if attempt is not winner:
                _give_up(attempt)


async def _connect(family: int, type: int, protocol: int, name: str, address: Any) -> socket.socket:
    connection = socket.socket(family, type, protocol)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _give_up(attempt: asyncio.Task[socket.socket]) -> None:
    attempt.cancel()
    if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
