"""Meetings in a drill: at a barrier, clients of all machines wait for each other.

When the barrier is released, each party sends a few messages, and all of them must receive each of
these once, and in the order of their sender: the subscriptions of all parties are in force on every
machine before any party continues. A party whose connection is closed has been notified of a loss;
then the meeting is over.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from workers.drill.socket import Lost, Socket
from workers.drill.websocket import in_turn, reconnect

ROUNDS = 5
ROUND_SECONDS = 0.1
"""Each party sends so many messages, and so far apart, so that faults happen during a meeting."""

PAUSE_SECONDS = 0.2  # between two meetings
MEETING_SECONDS = 60.0
"""For all parties to meet, and to receive all messages: longer than any fault of a drill."""


class Party:
    """One client of one meeting. received: the messages that it has received."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.met = asyncio.Event()
        self.lost = asyncio.Event()
        self.received: list[str] = []
        self.socket: Socket | None = None

    async def run(self, urls: Sequence[str], path: str) -> None:
        """Connect, and receive until the connection is lost."""
        self.socket = await reconnect(in_turn(urls, self.number), path)
        try:
            while True:
                message = str(await self.socket.receive())
                if message == "met":
                    self.met.set()
                else:
                    self.received.append(message)
        except Lost:
            self.lost.set()


class Meetings:
    """Call `start`, then `stop`; `violations` has the result. parties: clients of each meeting."""

    def __init__(self, ws_urls: Sequence[str], parties: int) -> None:
        self.violations: list[str] = []
        self.values = {"parties": parties, "held": 0, "interrupted": 0, "received": 0}
        self._urls = ws_urls
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Hold one meeting after another."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Wait for the end of the meeting under way; begin no other."""
        self._stopping = True
        if self._task is not None:
            await self._task

    @property
    def is_violated(self) -> bool:
        """Whether a rule is violated already, before the end."""
        return bool(self.violations)

    def cancel(self) -> None:
        """End all clients."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        for number in count(1):
            if self._stopping:
                return
            await self._meeting(number)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _meeting(self, number: int) -> None:
        size = self.values["parties"]
        parties = [Party(place) for place in range(size)]
        path = f"meeting/drill-{number}/{size}/"
        tasks = [asyncio.create_task(party.run(self._urls, path)) for party in parties]
        try:
            if not await self._all(parties, lambda party: party.met.is_set()):
                self.violations.append(f"the parties of meeting {number} did not meet")
                return
            for round_number in range(ROUNDS):
                for party in parties:
                    if party.socket is not None:
                        party.socket.send(f"{party.number}.{round_number}")
                await asyncio.sleep(ROUND_SECONDS)
            await self._all(parties, lambda party: len(party.received) >= size * ROUNDS)
            self._check(number, parties)
        finally:
            for task in tasks:
                if task.done():
                    task.result()  # an error of the drill itself
                task.cancel()
            for party in parties:
                if party.socket is not None:
                    party.socket.abort()

    async def _all(self, parties: list[Party], is_so: Callable[[Party], bool]) -> bool:
        """Wait until ``is_so`` holds for each party, or one has lost its connection; returns False
        if neither happens in time."""
        try:
            async with asyncio.timeout(MEETING_SECONDS):
                while not all(map(is_so, parties)):
                    if any(party.lost.is_set() for party in parties):
                        return True
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    def _check(self, number: int, parties: list[Party]) -> None:
        is_complete = not any(party.lost.is_set() for party in parties)
        self.values["received"] += sum(len(party.received) for party in parties)
        self.values["held" if is_complete else "interrupted"] += 1
        expected = {f"{party.number}.{each}" for party in parties for each in range(ROUNDS)}
        for party in parties:
            for other in parties:
                own = [each for each in party.received if each.startswith(f"{other.number}.")]
                if own != sorted(own):
                    self.violations.append(
                        f"meeting {number}, party {party.number} received out of order: {own}"
                    )
            twice = [message for message, times in Counter(party.received).items() if times > 1]
            missing = expected.difference(party.received) if is_complete else ()
            for wrong, what in ((twice, "received twice"), (missing, "missed")):
                if wrong:
                    self.violations.append(
                        f"meeting {number}, party {party.number} {what}: "
                        + ", ".join(sorted(wrong))
                    )
