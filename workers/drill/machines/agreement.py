"""What all machines must agree on when a drill is over: the history of a topic, and who is present.

Call it when nothing is published any more, and all other clients have left.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from workers.drill.chat import ROOM
from workers.drill.feed import PATH
from workers.drill.socket import Lost, Socket
from workers.drill.websocket import connect

EACH = 3
"""Connections to each machine: the kernel divides them among its nodes."""

AGREE_SECONDS = 20.0
"""For the members of a machine that was killed to leave, and for all answers."""


async def disagreements(ws_urls: dict[str, str], last: int) -> list[str]:
    """Compare the machines; returns the violations.

    ws_urls: machine -> base URL. last: the number of the last message of the feed.
    """
    return [*await _histories(ws_urls, last), *await _members(ws_urls)]


async def _histories(ws_urls: dict[str, str], last: int) -> list[str]:
    """All nodes must send the same messages at the same positions."""
    names = [name for name in ws_urls for _ in range(EACH)]
    try:
        async with asyncio.timeout(AGREE_SECONDS):
            found = [await _history(ws_urls[name], last) for name in names]
    except (Lost, TimeoutError) as error:
        return [f"the history of the feed cannot be read: {error or 'no answer'}"]
    expected = found[0]
    for name, history in zip(names, found, strict=True):
        if history != expected:
            differing = sorted(set(history) ^ set(expected))
            return [f"machines {names[0]} and {name} differ in the feed's history: {differing}"]
    return []


async def _history(ws_url: str, last: int) -> list[tuple[str, str]]:
    """Return the messages that the feed retains, (position, message), up to the last one."""
    socket = await connect(ws_url + PATH, "c10k.v1")
    found: list[tuple[str, str]] = []
    try:
        while not found or found[-1][1] != str(last):
            said = json.loads(await socket.receive())
            if "message" in said:
                found.append((said["id"], said["message"]))
    finally:
        socket.abort()
    return found


class _Watcher:
    """Someone in the chat room, who sees the others. members: their names, with its own."""

    def __init__(self, socket: Socket) -> None:
        self.members: set[str] = set()
        self._socket = socket

    async def run(self) -> None:
        while True:
            said: dict[str, Any] = json.loads(await self._socket.receive())
            self.members |= set(said.get("members", ()))
            if "joined" in said:
                self.members.add(said["joined"])
            self.members.discard(said.get("left", ""))

    def leave(self) -> None:
        self._socket.abort()


async def _members(ws_urls: dict[str, str]) -> list[str]:
    """All watchers must see each other, and nobody who is gone."""
    watchers: list[_Watcher] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(AGREE_SECONDS):
            for url in ws_urls.values():
                watcher = _Watcher(await connect(f"{url}chat/{ROOM}/ws/?members=1"))
                watchers.append(watcher)
                tasks.append(asyncio.create_task(watcher.run()))
            while not _agree(watchers):
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.05)
    except (Lost, TimeoutError):
        seen = {name: sorted(each.members) for name, each in zip(ws_urls, watchers, strict=False)}
        return [f"the machines differ in the members of the chat, or dead ones are left: {seen}"]
    finally:
        for task in tasks:
            task.cancel()
        for watcher in watchers:
            watcher.leave()
    return []


def _agree(watchers: Sequence[_Watcher]) -> bool:
    first = watchers[0].members
    return len(first) == len(watchers) and all(each.members == first for each in watchers)
