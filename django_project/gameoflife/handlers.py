"""The game's WebSockets: /reset/, /worker/ and /watcher/.

The servers do not know the rules of the game. They wait until all cells are connected, relay each
cell's frames to its subscribers, and send the board to watchers.
"""

import json

from cluster import BarrierRefused, Disconnected, WebSocket, text_frame, websocket
from django_project.gameoflife import game as games
from django_project.gameoflife.game import MAX_SIZE, Game

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

MAX_NEIGHBOURS = 8

IDLE = {"phase": "idle", "size": 0, "connected": 0, "subscribed": 0, "needed": 0}
NO_BOARD = b"S" + bytes(6)


class BadFrame(ValueError):
    """A client's message does not follow the protocol; the text for the client says how."""


def _number(text: str | bytes, limit: int) -> int:
    """A decimal number below ``limit``, in its shortest form."""
    if (
        not text.isdigit()
        or not text.isascii()
        or len(text) > 10
        or (len(text) > 1 and int(text[:1]) == 0)
    ):
        raise BadFrame(f"not a number: {text[:20]!r}")
    value = int(text)
    if value >= limit:
        raise BadFrame(f"{value} is not below {limit}")
    return value


@websocket
async def reset(ws: WebSocket) -> None:
    """Start a new game of the size that the client sends."""
    message = await ws.recv()
    try:
        if not isinstance(message, str):
            raise BadFrame("binary")
        size = _number(message, MAX_SIZE + 1)
        if size < 1:
            raise BadFrame("0")
    except BadFrame:
        await ws.close(POLICY_VIOLATION, f"the size must be a whole number from 1 to {MAX_SIZE}")
        return
    await games.start(size)


@websocket
async def worker(ws: WebSocket) -> None:
    """Serve the worker of one cell."""
    game = games.current
    if game is None:
        await ws.close(TRY_AGAIN_LATER, "there is no game: send its size to /reset/ first")
        return
    if game.running:  # even if all workers have left: the board cannot return to step 0
        await ws.close(TRY_AGAIN_LATER, "the game is full")
        return
    game.workers.add(ws)
    game.counts_changed()
    cell = Cell(ws, game)
    try:
        await ws.barrier(f"life/{game.id}/connected", game.cells, announce="sub")
        await _follow(ws, game)
        cell.follows()
        await ws.barrier(f"life/{game.id}/subscribed", game.cells, announce="run")
        if not game.running:
            game.running = True
            game.counts_changed()  # watchers may have received the last count before "running"
        ws.on_message(cell.message)
        await ws.wait_closed()
    except BarrierRefused:
        await ws.close(TRY_AGAIN_LATER, "the game is full")
    except BadFrame as error:
        await ws.close(POLICY_VIOLATION, str(error))
    finally:
        game.workers.discard(ws)
        cell.leave()
        game.counts_changed()


async def _follow(ws: WebSocket, game: Game) -> None:
    """Subscribe to the neighbours that the client names, until it says "sub"."""
    for _ in range(MAX_NEIGHBOURS + 1):
        message = await ws.recv()
        if message == "sub":
            return
        parts = message.split(" ") if isinstance(message, str) else ()
        if len(parts) != 2:
            raise BadFrame('expected "row column" of a neighbour, or "sub"')
        row, column = (_number(part, game.size) for part in parts)
        ws.subscribe(game.topic(row, column))
    raise BadFrame(f'more than {MAX_NEIGHBOURS} neighbours; expected "sub"')


class Cell:
    """The frames of one worker, "step row column state", which must be in the order of the
    steps."""

    __slots__ = ("code", "following", "game", "rest", "state", "step", "topic", "ws")

    def __init__(self, ws: WebSocket, game: Game) -> None:
        self.ws = ws
        self.game = game
        self.step = -1
        self.state = 0
        self.code = -1
        self.rest = (b"", b"")
        self.topic = b""
        self.following = False

    def follows(self) -> None:
        """The worker has subscribed to its neighbours."""
        self.following = True
        self.game.subscribed += 1
        self.game.counts_changed()

    def message(self, payload: bytes, is_binary: bool) -> None:
        """Relay a frame. The hot path, called for every step of every cell, so it compares
        bytes."""
        label, _, rest = payload.partition(b" ")
        step = self.step + 1
        if step and rest in self.rest and label == b"%d" % step and not is_binary:
            state = 1 if rest == self.rest[1] else 0
        else:
            try:
                state = self._first(payload, is_binary)
            except BadFrame as error:
                self.ws.close_now(POLICY_VIOLATION, str(error))
                return
        self.step = step
        self.ws.publish_frame(self.topic, text_frame(payload))
        game = self.game
        game.summary.report(step, self.code + state, state != self.state)
        game.reported()
        self.state = state

    def leave(self) -> None:
        """Remove the worker, whose connection is closed."""
        if self.following:
            self.game.subscribed -= 1
        if self.game.claims.get(self.code) is self.ws:
            del self.game.claims[self.code]

    def _first(self, payload: bytes, is_binary: bool) -> int:
        """Parse a whole frame: the first one, which names the cell, or an unexpected one."""
        parts = payload.split(b" ")
        if is_binary or len(parts) != 4:
            raise BadFrame('expected "step row column state"')
        size = self.game.size
        step, row, column, state = (
            _number(part, limit)
            for part, limit in zip(parts, (1 << 31, size, size, 2), strict=True)
        )
        code = (row * size + column) * 2
        if self.code >= 0 and code != self.code:
            raise BadFrame(f"cell {row} {column} is not yours")
        if step != self.step + 1:
            raise BadFrame(f"expected step {self.step + 1}, not {step}")
        if self.game.claims.setdefault(code, self.ws) is not self.ws:
            raise BadFrame(f"cell {row} {column} is another worker's")
        self.code = code
        self.topic = self.game.topic(row, column)
        self.rest = (b"%d %d 0" % (row, column), b"%d %d 1" % (row, column))
        return state


@websocket(subprotocols=["life.v2.bin"])
async def watcher(ws: WebSocket) -> None:
    """Serve a watcher. Messages from it are ignored."""
    if ws.subprotocol is None:
        await _watch_text(ws)
        return
    game = games.current
    ws.send_now(game.board.snapshot() if game else NO_BOARD)
    ws.send_now(json=game.status() if game else IDLE)
    ws.subscribe(games.WATCH, refresh=_newest)
    await _until_closed(ws)


async def _watch_text(ws: WebSocket) -> None:
    games.text_watchers.add(ws)
    try:
        for frame in _newest_text():
            ws.send_now(frame)
        ws.subscribe(games.WATCH_TEXT, refresh=_newest_text)
        await _until_closed(ws)
    finally:
        games.text_watchers.discard(ws)


async def _until_closed(ws: WebSocket) -> None:
    try:
        while True:
            await ws.recv()
    except Disconnected:
        pass


def _newest() -> list[str | bytes]:
    game = games.current
    return (
        [game.board.snapshot(), json.dumps(game.status())] if game else [NO_BOARD, json.dumps(IDLE)]
    )


def _newest_text() -> list[str | bytes]:
    return list(games.current.board.frames()) if games.current else []
