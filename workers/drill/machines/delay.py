"""A TCP proxy that delays what it forwards, in both directions. Not every kernel has `tc netem`.

    python -m workers.drill.machines.delay LISTEN-ADDRESS PORT TO-ADDRESS PORT

It reads the delay from its standard input: a number of milliseconds a line, 0 at the start. It
prints "ready" when it listens, and ends at the end of its input.
"""

import asyncio
import sys
from collections.abc import Sequence

CHUNK = 1 << 16
QUEUED = 1 << 8
"""Chunks that wait in one direction; a sender that is faster must wait."""


class Delay:
    """Forwards connections. milliseconds: the delay of each direction, which may change."""

    def __init__(self, address: str, port: int) -> None:
        self.milliseconds = 0.0
        self._target = (address, port)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until one side has closed it."""
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._one_way(reader, far_writer)),
            asyncio.create_task(self._one_way(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy ends; asyncio's callback would log this
        finally:
            for way in ways:
                way.cancel()
            writer.close()
            far_writer.close()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward in the order of arrival, each chunk after the delay that held when it arrived."""
        now = asyncio.get_running_loop().time
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)

        async def write() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - now())
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        writing = asyncio.create_task(write())
        try:
            while True:
                data = await reader.read(CHUNK)
                await queue.put((now() + self.milliseconds / 1000, data))
                if not data:
                    await writing
                    return
        except OSError:
            pass  # one side has reset the connection
        finally:
            writing.cancel()


async def serve(listen: tuple[str, int], target: tuple[str, int]) -> None:
    """Forward until the end of the standard input."""
    delay = Delay(*target)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with await asyncio.start_server(delay.forward, *listen):
        print("ready", flush=True)
        while line := await commands.readline():
            delay.milliseconds = float(line)


def main(arguments: Sequence[str]) -> None:
    """Forward as the command line says."""
    address, port, to_address, to_port = arguments
    asyncio.run(serve((address, int(port)), (to_address, int(to_port))))


if __name__ == "__main__":
    main(sys.argv[1:])
