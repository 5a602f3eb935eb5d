"""Opens WebSockets for asyncio.

urls = in_turn(["ws://127.0.0.1:8000/"], 0)
socket = await reconnect(urls, "chat/ws/")
socket.send('{"message": "hello"}')
await socket.receive()          a message; raises Lost when the connection has ended
socket.abort()
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

from workers.drill.socket import Lost, Socket

FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0  # seconds before another attempt


def in_turn(urls: Sequence[str], first: int) -> Iterator[str]:
    """Return the base URLs of a site repeatedly, beginning with another one for each client.

    A client that loses its connection goes to the next server.
    """
    first %= len(urls)
    return cycle([*urls[first:], *urls[:first]])


async def reconnect(urls: Iterator[str], rest: str, *protocols: str) -> Socket:
    """Open a connection to the next URL of urls, however many attempts that takes.

    rest: what follows the base URL.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await connect(next(urls) + rest, *protocols)
        except Lost:
            await asyncio.sleep(pause)
            pause = min(LAST_PAUSE, pause * 2)


async def connect(url: str, *protocols: str, headers: Mapping[str, str] | None = None) -> Socket:
    """Open a connection. headers: further ones of the request. Raises Lost."""
    # Autobahn serves one framework in a process, and the tests of other modules need Twisted's.
    from workers.drill.autobahn_socket import open_socket

    return await open_socket(url, *protocols, headers=headers)
