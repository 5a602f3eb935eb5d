"""An ASGI application whose processes send and receive on the channel layer, as a client asks.

A client connects, receives the number of the process, and sends JSON arrays:

["receive", N]          start N receivers in the group; answered "ready"
["group", N, SECONDS]   send N messages to the group, one each SECONDS; answered "sent"
["channel"]             start a receiver; answered with the name of its channel
["send", CHANNEL, N]    send N messages to a channel; answered "sent"
["count"]               answered with the number of messages that this process has received

It runs under uvicorn, for channels_redis, and mounted in the cluster.
"""

import asyncio
import json
import os
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

GROUP = "benchmark"
MESSAGE = {"type": "chat.message", "text": "x" * 100, "number": 1}
AT_ONCE, PAUSE_S = 20, 0.01  # messages to one channel, so that it does not become full

_received = [0]
_tasks: list[asyncio.Task[None]] = []


async def receiver(layer: Any, channel: str) -> None:
    """Receive from a channel, as a consumer does."""
    while True:
        await layer.receive(channel)
        _received[0] += 1


async def start(layer: Any) -> str:
    channel: str = await layer.new_channel()
    _tasks.append(asyncio.ensure_future(receiver(layer, channel)))
    return channel


async def group_send(layer: Any, count: int, every: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(count):
        await layer.group_send(GROUP, MESSAGE)
        due += every
        await asyncio.sleep(max(0.0, due - loop.time()))


async def send(layer: Any, channel: str, count: int) -> None:
    for number in range(count):
        while True:
            try:
                await layer.send(channel, MESSAGE)
                break
            except ChannelFull:
                await asyncio.sleep(PAUSE_S)
        if not number % AT_ONCE:
            await asyncio.sleep(PAUSE_S)


async def answer(words: list[Any]) -> object:
    layer: Any = get_channel_layer()
    match words:
        case ["receive", count]:
            for _ in range(count):
                await layer.group_add(GROUP, await start(layer))
            return "ready"
        case ["group", count, every]:
            await group_send(layer, count, every)
            return "sent"
        case ["channel"]:
            return await start(layer)
        case ["send", channel, count]:
            await send(layer, channel, count)
            return "sent"
        case _:
            return _received[0]


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(os.getpid())})
    while (event := await receive())["type"] == "websocket.receive":
        text = json.dumps(await answer(json.loads(event["text"])))
        await send({"type": "websocket.send", "text": text})
