"""A chat room in a drill: each member writes, and receives what the others write.

A member reconnects when its connection is lost, as the page does. The room's newest messages, which
it then receives, show what it has missed, and which of its own messages have arrived; it sends the
others again, with the same id. A message is confirmed when the server has answered a ping that was
sent after it.
"""

import asyncio
import json
from collections.abc import Sequence
from time import monotonic
from typing import Any

from workers.drill.ledger import DoubleFaults, Ledger, unprotected
from workers.drill.socket import Lost, Socket
from workers.drill.websocket import in_turn, reconnect

ROOM = "drill"
KEPT = 15  # messages that the room keeps


class Member:
    """One member of the room. number: unique, from 0. room: all members."""

    def __init__(self, urls: Sequence[str], number: int, room: "Room") -> None:
        self.ledgers: dict[int, Ledger] = {}  # the others' messages, by their author
        self.confirmed: dict[int, float] = {}  # number -> when it was confirmed
        self.sent = 0
        self.connections = 0
        self.entered = asyncio.Event()
        self._number = number
        self._room = room
        self._urls = in_turn(urls, number)
        self._socket: Socket | None = None
        self._pending: set[int] = set()  # own messages that are not confirmed
        self._resent: set[int] = set()

    async def run(self) -> None:
        """Receive until the task is cancelled."""
        while True:
            socket = await reconnect(self._urls, f"chat/{ROOM}/ws/")
            self.connections += 1
            try:
                while True:
                    self._received(json.loads(await socket.receive()), socket)
            except Lost:
                continue
            finally:
                self._socket = None
                socket.abort()

    def write(self) -> None:
        """Send the next message, or send it when the connection is back."""
        self.sent += 1
        self._pending.add(self.sent)
        if self._socket is not None:
            self._send(self._socket, self.sent)

    @property
    def pending(self) -> int:
        """How many messages are not confirmed."""
        return len(self._pending)

    def ledger(self, author: int) -> Ledger:
        """Return what this member has received of another one."""
        name = f"chat member {self._number}, from member {author},"
        return self.ledgers.setdefault(author, Ledger(name))

    def resent(self, number: int) -> bool:
        """Whether this member has sent a message again."""
        return number in self._resent

    def _send(self, socket: Socket, number: int) -> None:
        socket.send(json.dumps({"message": f"message {number}", "id": f"{self._number}-{number}"}))
        socket.send(json.dumps({"ping": number}))

    def _received(self, said: dict[str, Any], socket: Socket) -> None:
        if "buffer" in said:
            self._catch_up([message for message in said["buffer"] if "id" in message])
            for number in sorted(self._pending):
                self._resent.add(number)
                self._send(socket, number)
            self._socket = socket
            self.entered.set()
        elif "pong" in said:
            number = said["pong"]
            self._confirm(number)
        elif "message" in said and "id" in said:
            author, number = map(int, said["id"].split("-"))
            ledger = self.ledger(author)
            # A message that was sent again may have arrived the first time, too.
            if not (ledger.knows(number) and self._room.members[author].resent(number)):
                ledger.received(number)

    def _confirm(self, number: int) -> None:
        self._pending.discard(number)
        self.confirmed.setdefault(number, monotonic())

    def _catch_up(self, buffer: list[dict[str, Any]]) -> None:
        """Receive the room's newest messages, of which some are known."""
        places = [tuple(map(int, message["id"].split("-"))) for message in buffer]
        others = [place for place in places if place[0] != self._number]
        knew = any(self.ledger(author).knows(number) for author, number in others)
        if self.connections > 1 and len(places) >= KEPT and not knew:
            for author in self._room.authors(self._number):
                self.ledger(author).announced()  # the page shows a gap
        for author, number in places:
            if author == self._number:
                self._confirm(number)
            elif not self.ledger(author).knows(number):
                self.ledger(author).received(number)


class Room:
    """Call `start`, then `stop`; `violations` has the result.

    ws_urls: of the servers, among which the members divide. rate: messages a second in all.
    """

    def __init__(
        self, ws_urls: Sequence[str], members: int, rate: float, double_faults: DoubleFaults
    ) -> None:
        self.unprotected = 0
        self._double_faults = double_faults
        self.members = [Member(ws_urls, number, self) for number in range(members)]
        self.violations: list[str] = []
        self._pause = 1 / rate
        self._tasks: list[asyncio.Task[None]] = []

    def authors(self, number: int) -> list[int]:
        """The numbers of all members but one."""
        return [other for other in range(len(self.members)) if other != number]

    async def start(self) -> None:
        """Wait until all members have entered, then let them write."""
        self._tasks = [asyncio.create_task(member.run()) for member in self.members]
        for member in self.members:
            await member.entered.wait()
        self._tasks.append(asyncio.create_task(self._write()))

    async def _write(self) -> None:
        while True:
            for member in self.members:
                await asyncio.sleep(self._pause)
                member.write()

    async def stop(self, patience: float) -> None:
        """Wait until all messages have arrived, and check. patience: seconds."""
        self._tasks.pop().cancel()
        try:
            async with asyncio.timeout(patience):
                while any(member.pending for member in self.members) or self._missing():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass  # the ledgers say what is missing
        self.cancel()
        unconfirmed = sum(member.pending for member in self.members)
        if unconfirmed:
            self.violations.append(f"chat: {unconfirmed} messages were not confirmed")
        for author, member in enumerate(self.members):
            others = [self.members[other].ledger(author) for other in self.authors(author)]
            lost = unprotected(member.confirmed, others, self._double_faults())
            self.unprotected += len(lost)
            for ledger in others:
                self.violations += ledger.violations(member.confirmed.keys() - lost)

    def _missing(self) -> bool:
        return any(
            member.ledger(author).last < self.members[author].sent
            for member in self.members
            for author in self.authors(member._number)
        )

    @property
    def is_violated(self) -> bool:
        """Whether a rule is violated already, before the end."""
        return any(ledger.twice for member in self.members for ledger in member.ledgers.values())

    def cancel(self) -> None:
        """End all clients."""
        for task in self._tasks:
            task.cancel()

    @property
    def values(self) -> dict[str, int]:
        """The counts for the summary."""
        ledgers = [ledger for member in self.members for ledger in member.ledgers.values()]
        return {
            "clients": len(self.members),
            "confirmed": sum(len(member.confirmed) for member in self.members),
            "received": sum(ledger.count for ledger in ledgers),
            "reconnected": sum(member.connections - 1 for member in self.members),
            "losses_announced": sum(ledger.gaps for ledger in ledgers),
            "lost_in_double_faults": self.unprotected,
        }
