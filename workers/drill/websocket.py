"""Opens WebSockets for asyncio.

socket = await reconnect("ws://127.0.0.1:8000/chat/ws/")
socket.send('{"message": "hello"}')
await socket.receive()          a message; raises Lost when the connection has ended
socket.abort()
"""

import asyncio

from workers.drill.socket import Lost, Socket

FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0  # seconds before another attempt


async def reconnect(url: str, *protocols: str) -> Socket:
    """Open a connection, however many attempts that takes."""
    # Autobahn serves one framework in a process, and the tests of other modules need Twisted's.
    from workers.drill.autobahn_socket import open_socket

    pause = FIRST_PAUSE
    while True:
        try:
            return await open_socket(url, *protocols)
        except Lost:
            await asyncio.sleep(pause)
            pause = min(LAST_PAUSE, pause * 2)
