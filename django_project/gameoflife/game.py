"""One game: its workers on this node, and its state, which all nodes share.

The nodes agree on the game through the topic ``life/game``, which is retained: a node that starts
later receives it, and all nodes receive games in the same order. Each node publishes how many of
its workers are connected and subscribed (``life/status``), and the reports of its cells
(reports.py).
"""

import asyncio
import json
import os
from base64 import b64encode
from time import monotonic
from typing import Any

from cluster import EVERY_NODE, WebSocket, abarrier, listen, members, node_name, publish
from django_project.gameoflife.board import Board
from django_project.gameoflife.cells import SERVICE_RESTART, Cell
from django_project.gameoflife.counts import RESUME_TIMEOUT_S, Counts
from django_project.gameoflife.recent import ANSWER, ASK, Recent
from django_project.gameoflife.reports import ASK_STATES, BOARD, REPORTS, WATCH, Reports

GAME = "life/game"
STATUS = "life/status"
WATCH_TEXT = "life/watch/text"

OWNERS = "life/owners"
"""The topic on which each node sends once a second which cells its clients are."""

NODES = "life/nodes"
"""The topic whose members are the nodes that have workers."""

GONE_S = 0.1
"""Seconds from the leave of a node to its counts being forgotten. A node that only has no workers
left publishes its last counts at once, so that it does not seem to be lost."""

STATUS_S = 0.25

BEAT_S = 1.0
"""Seconds between two messages with a node's counts, from which a node that starts later learns
about the game. Missing workers are looked for at the same time."""

MAX_SIZE = 1000

OVER = 1008
"""The close code of a game that waits no longer for missing workers: reconnecting is useless."""

_NODE = os.urandom(8).hex()


def member() -> str:
    """The name of this node for people, and the identifier of its process."""
    return f"{node_name()} {_NODE}"


class Game:
    """A game, as known on this node. ``id`` is the same on all nodes.

    ``started`` is resolved when the game runs. ``over`` says why a game has ended before its
    workers have closed their connections; empty while it continues.
    """

    def __init__(self, game_id: str, size: int) -> None:
        self.id = game_id
        self.size = size
        self.cells = size * size
        self.claims: dict[int, Cell] = {}
        self.reports = Reports(
            game_id, size, _NODE, self.claims, lambda: current is self, _publish_frames
        )
        self.summary = self.reports.summary  # the hot path: one attribute less for each frame
        self.workers: set[WebSocket] = set()
        self.counts = Counts(self.cells)
        self.recent = Recent(game_id, _NODE, self.claims)
        self.subscribed = 0
        self.started = asyncio.Event()
        self.over = ""
        self._has_lost = False  # whether workers have left the game while it runs
        self._status_due = False

    @property
    def running(self) -> bool:
        """Whether all workers have subscribed once; a game that runs cannot gather workers."""
        return self.started.is_set()

    @property
    def board(self) -> Board:
        """The newest complete generation."""
        return self.reports.board

    def topic(self, row: int, column: int) -> bytes:
        """Return the topic to which the frames of a cell are published."""
        return b"life/%s/%d/%d" % (self.id.encode(), row, column)

    def status(self) -> dict[str, Any]:
        """Return the text message for watchers, sent when workers connect, subscribe or leave."""
        counts = self.counts
        phase = "over" if self.over else "running" if self.running else "gathering"
        status = {
            "phase": phase,
            "size": self.size,
            "needed": self.cells,
            "connected": counts.connected,
            "subscribed": counts.subscribed,
        }
        if counts.lost and self.running:
            status["lost"] = {name.split(" ")[0]: lost for name, lost in counts.lost.items()}
        if self.over:
            status["why"] = self.over
        return status

    def add(self, ws: WebSocket) -> None:
        """Count a worker that has connected to this node."""
        self.workers.add(ws)
        ws.join(NODES, member())
        self.counts_changed()

    def remove(self, ws: WebSocket) -> None:
        """Count a worker of this node no more."""
        self.workers.discard(ws)
        if self.workers:
            self.counts_changed()
        else:
            self._tell_counts()

    def claim(self, cell: Cell) -> None:
        """A worker has resumed with a cell: end its old connection, on any node."""
        old = self.claims.get(cell.code)
        self.claims[cell.code] = cell
        if old is not None:
            old.replaced()
        self.recent.resumed(cell.index)

    def counts_changed(self) -> None:
        """Call this when a worker connects, subscribes or leaves; publishes the counts soon."""
        if not self._status_due:
            self._status_due = True
            asyncio.get_running_loop().call_later(STATUS_S, self._tell_counts)

    def take_counts(
        self, node: str, connected: int, subscribed: int, running: bool, over: str = ""
    ) -> None:
        """Apply a node's counts, and publish the new status to this node's watchers."""
        before = self.status()
        were_connected = self.counts.connected
        self.counts.take(node, connected, subscribed)
        if self.running and self.counts.connected < were_connected:
            self._has_lost = True
        if self._has_lost and not self.counts.missing:
            self._has_lost = False
            self.reports.returned()
        if running:
            self.started.set()
        if over and not self.over:
            self._expire(over)
        if self.status() != before:
            publish(WATCH, json=self.status(), here=True)

    def node_left(self, node: str) -> None:
        """A node has no workers any more, or is gone: forget its counts."""
        if node not in members(NODES) and self.counts.forget(node):
            self._has_lost = self.running
            publish(WATCH, json=self.status(), here=True)

    def end(self) -> None:
        """Close all workers, because another game has begun."""
        self._close_workers(SERVICE_RESTART, "a new game was started")
        self.claims.clear()

    def beat(self) -> None:
        """Call this once a second: publishes the counts, and looks for what is missing."""
        if self.over or not (self.workers or self.running):
            return
        if self.counts.keep(members(NODES)):
            publish(WATCH, json=self.status(), here=True)
        if self.workers:
            self._tell_counts()
            publish(OWNERS, json={"game": self.id, "node": node_name(), "cells": self._owned()})
        if self.running and (missing := self.counts.overdue(monotonic())):
            cells = f"{missing:,} of {self.cells:,} cells"
            why = f"{cells} did not return within {RESUME_TIMEOUT_S:.0f} s"
            if missing == self.cells:
                why = "all of its clients have left"
            self._expire(f"the game is over: {why}")
        else:
            self.reports.look()

    def _owned(self) -> str:
        """The cells of this node's clients as bits, in base64."""
        bits = bytearray((self.cells + 7) // 8)
        for cell in self.claims.values():
            bits[cell.index >> 3] |= 1 << (cell.index & 7)
        return b64encode(bits).decode()

    def _expire(self, why: str) -> None:
        self.over = why
        self._tell_counts()
        self._close_workers(OVER, why)
        publish(WATCH, json=self.status(), here=True)

    def _close_workers(self, code: int, why: str) -> None:
        for worker in self.workers:
            worker.close_now(code, why)
        self.workers.clear()

    def _tell_counts(self) -> None:
        self._status_due = False
        if current is self:
            connected, running = len(self.workers), self.running
            publish(
                STATUS, json=[self.id, member(), connected, self.subscribed, running, self.over]
            )


current: Game | None = None
"""The newest game; None before the first."""

text_watchers: set[WebSocket] = set()
"""Watchers of this node that want every cell's frame as text."""


def _publish_frames(board: Board) -> None:
    for frame in board.frames() if text_watchers else ():
        publish(WATCH_TEXT, frame, here=True)


async def start(size: int) -> str:
    """Begin a new game on all nodes; returns its identifier when every node has ended the old
    one."""
    game_id = os.urandom(8).hex()
    publish(GAME, json=[game_id, size], retain=1)
    await abarrier(f"life/{game_id}/reset", EVERY_NODE)
    return game_id


def _take_game(message: str | bytes) -> None:
    global current
    game_id, size = json.loads(message)
    if current is not None:
        if current.id == game_id:
            return  # sent again after a broker was replaced
        current.end()
    current = Game(game_id, size)
    publish(WATCH, current.board.snapshot(), here=True)
    publish(WATCH, json=current.status(), here=True)
    loop = asyncio.get_running_loop()
    arrival = loop.create_task(abarrier(f"life/{game_id}/reset", EVERY_NODE))
    _arrivals.add(arrival)
    arrival.add_done_callback(_arrived)
    loop.call_later(BEAT_S, _beat, current)


def _beat(game: Game) -> None:
    if current is game:
        asyncio.get_running_loop().call_later(BEAT_S, _beat, game)
        game.beat()


_arrivals: set["asyncio.Task[None]"] = set()
"""Running tasks. The event loop has only weak references to tasks, so this set keeps them alive."""


def _arrived(arrival: "asyncio.Task[None]") -> None:
    _arrivals.discard(arrival)
    if not arrival.cancelled():
        arrival.exception()  # BarrierRefused: this node joined after all others had arrived


def presence_changed(node: str, joined: bool) -> None:
    """A node has its first worker, or no worker any more, or is gone."""
    if not joined and current is not None:
        asyncio.get_running_loop().call_later(GONE_S, current.node_left, node)


def _take_status(message: str | bytes) -> None:
    game_id, node, connected, subscribed, running, over = json.loads(message)
    if current is not None and current.id == game_id:
        current.take_counts(node, connected, subscribed, running, over)


def _take_board(message: str | bytes) -> None:
    assert isinstance(message, bytes)
    if current is not None and current.id == message[:8].hex():
        node, kind, data = message[8:16].hex(), message[16:17], message[17:]
        reports = current.reports
        (reports.take_summary if kind == REPORTS else reports.take_states)(node, data)


def _take_states(message: str | bytes) -> None:
    if current is not None and current.id == json.loads(message):
        current.reports.asked()


def _take_question(message: str | bytes) -> None:
    game_id, node, indexes, resumed = json.loads(message)
    if current is not None and current.id == game_id and node != _NODE:
        current.recent.asked(node, indexes, resumed)


def _take_answer(message: str | bytes) -> None:
    game_id, found = json.loads(message)
    if current is not None and current.id == game_id:
        current.recent.answered(found)


def join() -> None:
    """Listen to the game's topics. Call this once, when the application is loaded."""
    listen(GAME, _take_game)
    listen(STATUS, _take_status)
    listen(BOARD, _take_board)
    listen(ASK_STATES, _take_states)
    listen(ASK, _take_question)
    listen(ANSWER.format(_NODE), _take_answer)
