"""One game: which cells play here, and what all nodes know of it.

The nodes agree on the game through the topic ``life/game``, which is retained: a node that starts
later learns of it, and all see games in the same order. Each node tells the others how many of its
workers are connected and subscribed (``life/status``), and what its cells reported
(``life/board``).
"""

import asyncio
import json
import os
from typing import Any

from cluster import EVERY_NODE, WebSocket, barrier, listen, publish
from django_project.gameoflife.board import Board, Summary

GAME = "life/game"
STATUS = "life/status"
BOARD = "life/board"
WATCH = "life/watch"
WATCH_TEXT = "life/watch/text"

SUMMARY_S = 0.025
"""How often a node tells what its cells reported: the eye sees no more than 40 steps a second."""

STATUS_S = 0.25

MAX_SIZE = 1000

_NODE = os.urandom(8).hex()


class Game:
    """A game as this node knows it. ``id`` is the same on all nodes."""

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
        """Where the frames of one cell are published."""
        return b"life/%s/%d/%d" % (self.id.encode(), row, column)

    def status(self) -> dict[str, Any]:
        """What a watcher is told while the game gathers and when its workers come and go."""
        return {
            "phase": "running" if self.running else "gathering",
            "size": self.size,
            "needed": self.cells,
            "connected": sum(connected for connected, _ in self._counts.values()),
            "subscribed": sum(subscribed for _, subscribed in self._counts.values()),
        }

    def counts_changed(self) -> None:
        """A worker came, subscribed or left: tell all nodes, a few times a second at most."""
        if not self._status_due:
            self._status_due = True
            asyncio.get_running_loop().call_later(STATUS_S, self._tell_counts)

    def reported(self) -> None:
        """A cell's report is in ``summary``: see that it is told."""
        if not self._summary_due:
            self._summary_due = True
            asyncio.get_running_loop().call_later(SUMMARY_S, self._tell_summary)

    def take_counts(self, node: str, connected: int, subscribed: int, running: bool) -> None:
        """A node's figures; tells this node's watchers."""
        self._counts[node] = (connected, subscribed)
        self.running = self.running or running
        publish(WATCH, json.dumps(self.status()), here=True)

    def take_summary(self, summary: bytes) -> None:
        """A node's reports; tells this node's watchers if a step is complete."""
        changes = self.board.apply(summary, self._tell_frames)
        if changes is not None:
            publish(WATCH, self.board.delta(changes), here=True)

    def _tell_frames(self) -> None:
        for frame in self.board.frames() if text_watchers else ():
            publish(WATCH_TEXT, frame, here=True)

    def end(self) -> None:
        """Another game has begun: its workers are closed."""
        for worker in self.workers:
            worker.close_now(1012, "a new game was started")
        self.workers.clear()
        self.claims.clear()

    def _tell_counts(self) -> None:
        self._status_due = False
        if current is self:
            publish(
                STATUS,
                json.dumps([self.id, _NODE, len(self.workers), self.subscribed, self.running]),
            )

    def _tell_summary(self) -> None:
        self._summary_due = False
        if current is self:
            publish(BOARD, bytes.fromhex(self.id) + self.summary.take())


current: Game | None = None
"""The game that is on, if any."""

text_watchers: set[WebSocket] = set()
"""Watchers of this node that want every cell's frame as text."""


async def start(size: int) -> None:
    """Begin a new game on all nodes; returns when each has forgotten the old one."""
    game_id = os.urandom(8).hex()
    publish(GAME, json.dumps([game_id, size]), retain=1)
    await barrier(f"life/{game_id}/reset", EVERY_NODE)


def _take_game(message: str | bytes) -> None:
    global current
    game_id, size = json.loads(message)
    if current is not None:
        current.end()
    current = Game(game_id, size)
    publish(WATCH, current.board.snapshot(), here=True)
    publish(WATCH, json.dumps(current.status()), here=True)
    arrival = asyncio.get_running_loop().create_task(barrier(f"life/{game_id}/reset", EVERY_NODE))
    _arrivals.add(arrival)
    arrival.add_done_callback(_arrived)


_arrivals: set["asyncio.Task[None]"] = set()
"""Kept, because the event loop itself holds tasks only weakly."""


def _arrived(arrival: "asyncio.Task[None]") -> None:
    _arrivals.discard(arrival)
    if not arrival.cancelled():
        arrival.exception()  # refused: this node joined when the others were all there


def _take_status(message: str | bytes) -> None:
    game_id, node, connected, subscribed, running = json.loads(message)
    if current is not None and current.id == game_id:
        current.take_counts(node, connected, subscribed, running)


def _take_board(message: str | bytes) -> None:
    assert isinstance(message, bytes)
    if current is not None and current.id == message[:8].hex():
        current.take_summary(message[8:])


def join() -> None:
    """Take part in the games of the cluster; called once when the application is loaded."""
    listen(GAME, _take_game)
    listen(STATUS, _take_status)
    listen(BOARD, _take_board)
