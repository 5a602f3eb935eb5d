"""The newest frames of cells on other nodes, for workers that resume or have waited for long.

A node asks all nodes together for all cells whose frames its workers need; the nodes that have
these cells answer to the asking node only. Its subscriptions reach them before the question, so a
frame is either in the answer or comes after it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from cluster import WebSocket, publish

ASK = "life/ask"
ANSWER = "life/answer/{}"

TOGETHER_S = 0.01
"""Seconds for which questions are collected: when a node has died, thousands of workers ask at
once."""


class RecentCell(Protocol):
    """A cell of this node."""

    def recent(self) -> list[str]: ...

    def replaced(self) -> None: ...


class Recent:
    """Questions and answers of one node in one game. ``claims``: index * 2 -> the node's cell."""

    def __init__(self, game_id: str, node: str, claims: dict[int, Any]) -> None:
        self._game_id = game_id
        self._node = node
        self._claims: dict[int, RecentCell] = claims
        self._asking: dict[int, set[WebSocket]] = {}  # index -> the workers that need its frames
        self._waiting: dict[int, set[WebSocket]] = {}  # the same, once the question is sent
        self._resumed: list[int] = []  # cells that resume here and so have left other nodes
        self._due = False

    def resumed(self, index: int) -> None:
        """A worker has resumed on this node: other nodes close an old connection of its cell."""
        self._resumed.append(index)
        self._soon()

    def ask(self, ws: WebSocket, indexes: Iterable[int]) -> None:
        """Send the last two frames of these cells to a worker of this node."""
        claims = self._claims
        for index in indexes:
            cell = claims.get(index * 2)
            if cell is not None:
                _send([ws], cell.recent())
            else:
                self._asking.setdefault(index, set()).add(ws)
                self._soon()

    def asked(self, node: str, indexes: list[int], resumed: list[int]) -> None:
        """Another node asks for frames, and says which cells have resumed there."""
        claims = self._claims
        for index in resumed:
            cell = claims.pop(index * 2, None)
            if cell is not None:
                cell.replaced()
        found = [[index, claims[index * 2].recent()] for index in indexes if index * 2 in claims]
        if found:
            publish(ANSWER.format(node), json=[self._game_id, found])

    def answered(self, found: list[tuple[int, list[str]]]) -> None:
        """Another node has sent frames that this one has asked for."""
        for index, frames in found:
            _send(self._waiting.pop(index, ()), frames)

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(TOGETHER_S, self._publish)

    def _publish(self) -> None:
        self._due = False
        asking, self._asking = self._asking, {}
        resumed, self._resumed = self._resumed, []
        for index, workers in asking.items():
            self._waiting.setdefault(index, set()).update(workers)
        publish(ASK, json=[self._game_id, self._node, list(asking), resumed])


def _send(workers: Iterable[WebSocket], frames: list[str]) -> None:
    for worker in workers:
        for frame in frames:
            worker.send_now(frame)
