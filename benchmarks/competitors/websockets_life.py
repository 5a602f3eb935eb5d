"""The relay of Life in `websockets`: `python -m benchmarks.competitors.websockets_life --port 0`.

The library's asyncio server with its defaults, except that compression and keepalive pings are off,
as in the other servers. Its `broadcast` sends a message to several clients.
"""

import argparse
import asyncio
import contextlib
import signal

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class Life:
    """One game: its workers, and the subscribers of each cell."""

    def __init__(self, size: int) -> None:
        self.cells = size * size
        self.workers: list[ServerConnection] = []
        self.subscribed = 0
        self.subscribers: dict[str, list[ServerConnection]] = {}


class Relay:
    def __init__(self) -> None:
        self.game = Life(1)
        self.closing: set[asyncio.Task[None]] = set()

    def only_known_paths(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path in ("/reset/", "/worker/"):
            return None
        return socket.respond(404, "not found\n")

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path == "/reset/":
            await self.reset(socket)
        else:
            await self.work(socket)

    async def reset(self, socket: ServerConnection) -> None:
        text = await socket.recv()
        try:
            size = int(text)
        except ValueError:
            size = 0
        if not 1 <= size <= 1000:
            await socket.close(1008, "not a size: 1 to 1000")
            return
        for worker in self.game.workers:
            task = asyncio.create_task(worker.close(1012, "a new game"))
            self.closing.add(task)
            task.add_done_callback(self.closing.discard)
        self.game = Life(size)

    async def work(self, socket: ServerConnection) -> None:
        game = self.game
        if len(game.workers) >= game.cells:
            await socket.close(1013, "the game is full")
            return
        game.workers.append(socket)
        if len(game.workers) == game.cells:
            broadcast(game.workers, "sub")
        try:
            async for message in socket:
                assert isinstance(message, str)
                if message == "sub":
                    game.subscribed += 1
                    if game.subscribed == game.cells:
                        broadcast(game.workers, "run")
                elif message.count(" ") == 1:
                    game.subscribers.setdefault(message, []).append(socket)
                else:
                    cell = message[message.index(" ") + 1 : message.rindex(" ")]
                    broadcast(game.subscribers.get(cell, ()), message)
        except ConnectionClosed:
            pass
        finally:
            if len(game.workers) < game.cells:
                with contextlib.suppress(ValueError):
                    game.workers.remove(socket)


async def run(port: int) -> None:
    relay = Relay()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await serve(
        relay.serve,
        "127.0.0.1",
        port,
        process_request=relay.only_known_paths,
        backlog=4096,
        compression=None,
        ping_interval=None,
        max_size=1 << 20,
    )
    address = next(iter(server.sockets)).getsockname()
    print(f"listening on ws://127.0.0.1:{address[1]}/", flush=True)
    await stop.wait()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    asyncio.run(run(options.parse_args().port))


if __name__ == "__main__":
    main()
