"""Echo in `websockets` on asyncio: `python -m benchmarks.competitors.websockets_echo [--uvloop]`.

The library is used as in its documentation, with all defaults: pings every 20 seconds, and
compression for clients that request it.
"""

import argparse
import asyncio
import signal

from websockets.asyncio.server import ServerConnection, serve


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def run(port: int, ping: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(echo, "127.0.0.1", port, backlog=4096, ping_interval=ping) as server:
        address = next(iter(server.sockets)).getsockname()
        print(f"listening on ws://127.0.0.1:{address[1]}/", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--uvloop", action="store_true", help="on uvloop's event loop")
    parser.add_argument("--ping", type=float, default=20, help="seconds between pings (20)")
    options = parser.parse_args()
    factory = None
    if options.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(options.port, options.ping))


if __name__ == "__main__":
    main()
