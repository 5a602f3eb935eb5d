"""The echo WebSockets.

/test/ws/           a short conversation that a client can verify
/echo/              sends every message back unchanged, from a callback (the least CPU time)
/echo/async/        the same in a coroutine with recv and send, like most handlers
/broadcast/NAME/    sends each message to all clients of this URL, on every node; with
                    ?role=publisher a client only sends, with ?role=subscriber it only receives
/meeting/NAME/N/    waits until N clients are there, on any node, and sends each of them "met"; then
                    it sends each message to all of them, also to its sender
"""

from cluster import BarrierRefused, WebSocket, binary_frame, text_frame, websocket

TRY_AGAIN_LATER = 1013

REPLIES = 3


@websocket
async def conversation(ws: WebSocket) -> None:
    """Send Hello!, send each message back with its number, and send Goodbye! after the third."""
    await ws.send("Hello!")
    for number in range(1, REPLIES + 1):
        message = await ws.recv()
        text = message if isinstance(message, str) else message.decode(errors="replace")
        await ws.send(f"{number}. {text}")
    await ws.send("Goodbye!")


@websocket
async def echo(ws: WebSocket) -> None:
    """Raw echo from a callback."""

    def send_back(payload: bytes, is_binary: bool) -> None:
        ws.send_frame(binary_frame(payload) if is_binary else text_frame(payload))

    ws.on_message(send_back)
    await ws.wait_closed()


@websocket
async def echo_async(ws: WebSocket) -> None:
    """Raw echo from a coroutine."""
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


@websocket
async def meeting(ws: WebSocket, name: str, parties: int) -> None:
    """A barrier, for load tests: a message after "met" reaches all parties."""
    topic = f"meeting/{name}"
    ws.subscribe(topic, replay=False)
    try:
        await ws.barrier(topic, max(1, parties), announce="met")
    except BarrierRefused as error:
        await ws.close(TRY_AGAIN_LATER, str(error))
        return
    async for message in ws:
        ws.publish(topic, message)
