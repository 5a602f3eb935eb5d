"""One game: its workers on this node, and its state, which all nodes share.

The nodes agree on the game through the topic ``life/game``, which is retained: a node that starts
later receives it, and all nodes receive games in the same order. Each node publishes how many of
its workers are connected and subscribed (``life/status``), and the reports of its cells
(``life/board``).
"""

import asyncio
import json
import os
from typing import Any

from cluster import EVERY_NODE, WebSocket, abarrier, listen, publish
from django_project.gameoflife.board import Board, Summary

GAME = "life/game"
STATUS = "life/status"
BOARD = "life/board"
WATCH = "life/watch"
WATCH_TEXT = "life/watch/text"

SUMMARY_S = 0.025
"""Seconds between summaries of a node: at most 40 a second, because people do not see more
steps."""

STATUS_S = 0.25

MAX_SIZE = 1000

_NODE = os.urandom(8).hex()


class Game:
    """A game, as known on this node. ``id`` is the same on all nodes."""

    def __init__(self, game_id: str, size: int) -> None:
        self.id = game_id
        self.size = size
        self.cells = size * size
        self.board = Board(size)
        self.summary = Summary()
        self.workers: set[WebSocket] = set()
        self.claims: dict[int, WebSocket] = {}
        self.subscribed = 0
        self.running = False
        self._counts: dict[str, tuple[int, int]] = {}
        self._summary_due = False
        self._status_due = False

    def topic(self, row: int, column: int) -> bytes:
        """Return the topic to which the frames of a cell are published."""
        return b"life/%s/%d/%d" % (self.id.encode(), row, column)

    def status(self) -> dict[str, Any]:
        """Return the text message for watchers, sent when workers connect, subscribe or leave."""
        return {
            "phase": "running" if self.running else "gathering",
            "size": self.size,
            "needed": self.cells,
            "connected": sum(connected for connected, _ in self._counts.values()),
            "subscribed": sum(subscribed for _, subscribed in self._counts.values()),
        }

    def counts_changed(self) -> None:
        """Call this when a worker connects, subscribes or leaves; publishes the counts soon."""
        if not self._status_due:
            self._status_due = True
            asyncio.get_running_loop().call_later(STATUS_S, self._tell_counts)

    def reported(self) -> None:
        """Call this when ``summary`` has a new report; publishes the summary soon."""
        if not self._summary_due:
            self._summary_due = True
            asyncio.get_running_loop().call_later(SUMMARY_S, self._tell_summary)

    def take_counts(self, node: str, connected: int, subscribed: int, running: bool) -> None:
        """Apply a node's counts, and publish the new status to this node's watchers."""
        self._counts[node] = (connected, subscribed)
        self.running = self.running or running
        publish(WATCH, json=self.status(), here=True)

    def take_summary(self, summary: bytes) -> None:
        """Apply a node's summary, and publish the changes of complete steps to the watchers."""
        changes = self.board.apply(summary, self._tell_frames)
        if changes is not None:
            publish(WATCH, self.board.delta(changes), here=True)

    def _tell_frames(self) -> None:
        for frame in self.board.frames() if text_watchers else ():
            publish(WATCH_TEXT, frame, here=True)

    def end(self) -> None:
        """Close all workers, because another game has begun."""
        for worker in self.workers:
            worker.close_now(1012, "a new game was started")
        self.workers.clear()
        self.claims.clear()

    def _tell_counts(self) -> None:
        self._status_due = False
        if current is self:
            publish(
                STATUS,
                json=[self.id, _NODE, len(self.workers), self.subscribed, self.running],
            )

    def _tell_summary(self) -> None:
        self._summary_due = False
        if current is self:
            publish(BOARD, bytes.fromhex(self.id) + self.summary.take())


current: Game | None = None
"""The newest game; None before the first."""

text_watchers: set[WebSocket] = set()
"""Watchers of this node that want every cell's frame as text."""


async def start(size: int) -> None:
    """Begin a new game on all nodes; returns when every node has ended the old one."""
    game_id = os.urandom(8).hex()
    publish(GAME, json=[game_id, size], retain=1)
    await abarrier(f"life/{game_id}/reset", EVERY_NODE)


def _take_game(message: str | bytes) -> None:
    global current
    game_id, size = json.loads(message)
    if current is not None:
        current.end()
    current = Game(game_id, size)
    publish(WATCH, current.board.snapshot(), here=True)
    publish(WATCH, json=current.status(), here=True)
    arrival = asyncio.get_running_loop().create_task(abarrier(f"life/{game_id}/reset", EVERY_NODE))
    _arrivals.add(arrival)
    arrival.add_done_callback(_arrived)


_arrivals: set["asyncio.Task[None]"] = set()
"""Running tasks. The event loop has only weak references to tasks, so this set keeps them alive."""


def _arrived(arrival: "asyncio.Task[None]") -> None:
    _arrivals.discard(arrival)
    if not arrival.cancelled():
        arrival.exception()  # BarrierRefused: this node joined after all others had arrived


def _take_status(message: str | bytes) -> None:
    game_id, node, connected, subscribed, running = json.loads(message)
    if current is not None and current.id == game_id:
        current.take_counts(node, connected, subscribed, running)


def _take_board(message: str | bytes) -> None:
    assert isinstance(message, bytes)
    if current is not None and current.id == message[:8].hex():
        current.take_summary(message[8:])


def join() -> None:
    """Listen to the game's topics. Call this once, when the application is loaded."""
    listen(GAME, _take_game)
    listen(STATUS, _take_status)
    listen(BOARD, _take_board)
