"""A TCP proxy that loses what the test wants it to lose."""

import asyncio
from contextlib import suppress as ignored


class Proxy:
    """Forwards connections to a port. `start` it, and `stop` it at the end.

    After `lose_answers()` requests still arrive, and their answers do not; the connections are
    closed with the first answer that is lost. After `stall()` nothing is forwarded any more, and
    connections stay open. `resume()` ends both for new connections.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._mode = "forward"
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def lose_answers(self) -> None:
        self._mode = "lose"

    def stall(self) -> None:
        self._mode = "stall"

    def resume(self) -> None:
        self._mode = "forward"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # what is behind the proxy is down
            writer.close()
            return
        both = (self._copy(reader, up_writer, False), self._copy(up_reader, writer, True))
        tasks = [asyncio.ensure_future(each) for each in both]
        self._tasks.update(tasks)
        with ignored(asyncio.CancelledError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._tasks.difference_update(tasks)
        for each in (writer, up_writer):
            each.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, are_answers: bool
    ) -> None:
        while data := await reader.read(1 << 16):
            if self._mode == "stall":
                await asyncio.Event().wait()  # until ``stop``
            if self._mode == "lose" and are_answers:
                self.lost += 1
                return
            writer.write(data)
            with ignored(ConnectionError):
                await writer.drain()
