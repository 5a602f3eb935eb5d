"""The game's WebSockets: /reset/, /worker/ and /watcher/.

The servers do not know the rules of the game. They wait until all cells are connected, relay each
cell's frames to its subscribers, and send the board to watchers.
"""

import asyncio
import json

from cluster import BarrierRefused, Disconnected, WebSocket, websocket
from django_project.gameoflife import game as games
from django_project.gameoflife.cells import POLICY_VIOLATION, BadFrame, Cell, number, position
from django_project.gameoflife.game import MAX_SIZE, Game

TRY_AGAIN_LATER = 1013

MAX_NEIGHBOURS = 8

IDLE = {"phase": "idle", "size": 0, "connected": 0, "subscribed": 0, "needed": 0}
NO_BOARD = b"S" + bytes(6)


@websocket
async def reset(ws: WebSocket) -> None:
    """Start a new game of the size that the client sends."""
    message = await ws.recv()
    try:
        if not isinstance(message, str):
            raise BadFrame("binary")
        size = number(message, MAX_SIZE + 1)
        if size < 1:
            raise BadFrame("0")
    except BadFrame:
        await ws.close(POLICY_VIOLATION, f"the size must be a whole number from 1 to {MAX_SIZE}")
        return
    await ws.close(1000, await games.start(size))


@websocket
async def worker(ws: WebSocket) -> None:
    """Serve the worker of one cell; with ``?resume=ROW,COLUMN`` one that lost its connection."""
    game = games.current
    if game is None:
        await ws.close(TRY_AGAIN_LATER, "there is no game: send its size to /reset/ first")
        return
    resumes = "resume" in ws.query
    if game.running and not resumes:  # even if all workers have left: no board returns to step 0
        await ws.close(TRY_AGAIN_LATER, "the game is full")
        return
    cell = Cell(ws, game)
    try:
        if resumes:
            _resume(ws, game, cell)
        game.add(ws)
        pass_barrier = _pass if resumes else _wait
        await pass_barrier(ws, game, "connected", "sub")
        neighbours = await _follow(ws, game)
        cell.follows()
        await pass_barrier(ws, game, "subscribed", "run")
        if not game.running:
            game.started.set()
            game.counts_changed()  # watchers may have received the last count before "running"
        ws.on_message(cell.message)
        if resumes:
            game.recent.ask(ws, neighbours)
        await ws.wait_closed()
    except BarrierRefused:
        await ws.close(TRY_AGAIN_LATER, "the game is full")
    except BadFrame as error:
        await ws.close(POLICY_VIOLATION, str(error))
    finally:
        cell.leave()
        game.remove(ws)


def _resume(ws: WebSocket, game: Game, cell: Cell) -> None:
    """Give the cell the position that the client names. Raises BadFrame if it cannot resume."""
    if ws.query.get("game", [game.id]) != [game.id]:
        raise BadFrame("a new game was started")
    if game.over:
        raise BadFrame(game.over)
    row, column = position(ws.query["resume"][0].split(","), game.size)
    cell.resume(row, column)


async def _wait(ws: WebSocket, game: Game, name: str, announce: str) -> None:
    """Wait until all workers of the game have come this far."""
    await ws.barrier(f"life/{game.id}/{name}", game.cells, announce=announce)


async def _pass(ws: WebSocket, game: Game, name: str, announce: str) -> None:
    """Wait as ``_wait`` does, but only if the others have not passed already."""
    if not game.running:
        # The barrier announces nothing, because the game may start at the same moment.
        arrival = asyncio.ensure_future(ws.barrier(f"life/{game.id}/{name}", game.cells))
        started = asyncio.ensure_future(game.started.wait())
        try:
            await asyncio.wait({arrival, started}, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                await arrival
        except BarrierRefused:
            pass  # they have, and this node has not received that the game runs
        finally:
            arrival.cancel()
            started.cancel()
    ws.send_now(announce)


async def _follow(ws: WebSocket, game: Game) -> list[int]:
    """Subscribe to the neighbours that the client names, until it says "sub"; returns them."""
    neighbours: list[int] = []
    while len(neighbours) <= MAX_NEIGHBOURS:
        message = await ws.recv()
        if message == "sub":
            return neighbours
        row, column = position(message.split(" ") if isinstance(message, str) else [], game.size)
        neighbours.append(row * game.size + column)
        ws.subscribe(game.topic(row, column))
    raise BadFrame(f'more than {MAX_NEIGHBOURS} neighbours; expected "sub"')


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
    ws.on_presence(games.NODES, games.presence_changed)
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
