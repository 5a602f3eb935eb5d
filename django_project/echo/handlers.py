"""The echo sockets.

/test/ws/           a short conversation whose whole transcript a client can verify
/echo/              every message comes back unchanged, by a callback: as cheap as it gets
/echo/async/        the same by a coroutine with recv and send, as most handlers are written
/broadcast/NAME/    what any client sends goes to all who are connected there, on every node; with
                    ?role=publisher a client sends only, with ?role=subscriber it listens only
"""

from cluster import WebSocket, binary_frame, text_frame, websocket

REPLIES = 3


@websocket
async def conversation(ws: WebSocket) -> None:
    """Hello!, each message back with its number, Goodbye! after the third."""
    await ws.send("Hello!")
    for number in range(1, REPLIES + 1):
        message = await ws.recv()
        text = message if isinstance(message, str) else message.decode(errors="replace")
        await ws.send(f"{number}. {text}")
    await ws.send("Goodbye!")


@websocket
async def echo(ws: WebSocket) -> None:
    """Raw echo without a coroutine in between."""

    def send_back(payload: bytes, is_binary: bool) -> None:
        ws.send_frame(binary_frame(payload) if is_binary else text_frame(payload))

    ws.on_message(send_back)
    await ws.wait_closed()


@websocket
async def echo_async(ws: WebSocket) -> None:
    """Raw echo by a coroutine."""
    async for message in ws:
        await ws.send(message)


@websocket
async def broadcast(ws: WebSocket, name: str) -> None:
    """One topic, for load tests: text and binary messages to every subscriber."""
    role = ws.query.get("role", ["both"])[-1]
    topic = f"broadcast/{name}".encode()

    def publish(payload: bytes, is_binary: bool) -> None:
        ws.publish_frame(topic, binary_frame(payload) if is_binary else text_frame(payload))

    if role != "publisher":
        ws.subscribe(topic)
    if role != "subscriber":
        ws.on_message(publish)
        await ws.wait_closed()
    else:
        async for _ in ws:
            pass
