"""This node's part in the board: publishes the reports of its cells, and assembles those of all.

Each node publishes the reports of its own cells as summaries. When reports are missing, because a
node was killed or has started late, it asks all nodes for the states of their cells (rebuild.py).
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from cluster import publish
from django_project.gameoflife.board import Board
from django_project.gameoflife.rebuild import encode_states
from django_project.gameoflife.summary import Summary

BOARD = "life/board"
"""Its messages: game and node (8 bytes each), REPORTS or STATES, data."""

ASK_STATES = "life/states"
WATCH = "life/watch"

REPORTS, STATES = b"R", b"S"

SUMMARY_S = 0.025
"""Seconds between summaries of a node: at most 40 a second, because people do not see more
steps."""

STATES_S = 0.05
"""Seconds for which questions for the states of a node's cells are collected."""

SILENCE_S = 2.0
"""Seconds without a report after which an incomplete step waits for reports that were lost."""

RETURNED_S = 0.1
"""Seconds in which workers that have returned send their last frames again."""

ANSWERS_S = 0.9
"""Seconds in which the nodes must answer for all cells. Some cells may have been on their way from
one node to another: then the nodes are asked again."""

REBUILD_S = 10.0
"""Seconds after which a rebuilt board that is not complete waits for reports that were lost."""


class Reports:
    """Of one game on this node.

    ``game_id`` and ``node``, the identifier of the process, have 16 hexadecimal digits.
    ``claims``: index * 2 -> the node's cell. ``is_current``: whether no later game has begun.
    ``on_frames`` is called with each complete board, before it is replaced by the next.
    """

    def __init__(
        self,
        game_id: str,
        size: int,
        node: str,
        claims: dict[int, Any],
        is_current: Callable[[], bool],
        on_frames: Callable[[Board], None],
    ) -> None:
        self.board = Board(size)
        self.summary = Summary()
        self._game_id = game_id
        self._node = node
        self._claims = claims
        self._is_current = is_current
        self._on_frames = on_frames
        self._due = False
        self._states_due = False
        self._arrived_at = 0.0  # when the last summary arrived
        self._asked_at = 0.0  # when the nodes were asked for states

    def soon(self) -> None:
        """Call this when ``summary`` has a new report; publishes the summary soon."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(SUMMARY_S, self._publish_summary)

    def take_summary(self, node: str, summary: bytes) -> None:
        """Apply a node's summary, and publish the changes of complete steps to the watchers."""
        board = self.board
        self._arrived_at = monotonic()
        if board.rebuilding:
            self._replaced(board.summary(node, summary))
        else:
            changes = board.apply(summary, lambda: self._on_frames(board))
            if changes is not None:
                publish(WATCH, board.delta(changes), here=True)
        if board.incomplete:
            self._rebuild()

    def take_states(self, node: str, answer: bytes) -> None:
        """Apply the states of a node's cells, if the board is being rebuilt."""
        self._replaced(self.board.states(node, answer))

    def asked(self) -> None:
        """A node asks for the states of all cells: publish those of this node's cells soon."""
        if not self._states_due:
            self._states_due = True
            asyncio.get_running_loop().call_later(STATES_S, self._publish_states)

    def returned(self) -> None:
        """Call this when all workers are connected again: reports of a dead node may be lost."""
        asyncio.get_running_loop().call_later(RETURNED_S, self._look_after_return)

    def look(self) -> None:
        """Call this once a second: rebuilds a board whose reports do not come."""
        board = self.board
        now = monotonic()
        if board.rebuilding:
            limit = REBUILD_S if board.gathered else ANSWERS_S
            is_late = now - self._asked_at > limit
        else:
            is_late = board.waiting and now - self._arrived_at > SILENCE_S
        if board.incomplete or is_late:
            self._rebuild()

    def _look_after_return(self) -> None:
        if not self.board.rebuilding:
            self._rebuild()

    def _rebuild(self) -> None:
        self.board.rebuild()
        self._asked_at = self._arrived_at = monotonic()
        publish(ASK_STATES, json=self._game_id)

    def _replaced(self, replaced: bool) -> None:
        if replaced:
            publish(WATCH, self.board.snapshot(), here=True)
            self._on_frames(self.board)

    def _publish_summary(self) -> None:
        self._due = False
        self._publish(REPORTS, self.summary.take())

    def _publish_states(self) -> None:
        self._states_due = False
        self._publish_summary()  # first the reports of steps that the states include
        cells = self._claims.values()
        known = ((cell.code + cell.state, cell.step) for cell in cells if cell.step >= 0)
        self._publish(STATES, encode_states(known))

    def _publish(self, kind: bytes, data: bytes) -> None:
        if self._is_current():
            publish(BOARD, bytes.fromhex(self._game_id + self._node) + kind + data)
