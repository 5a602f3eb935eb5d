"""Echo in picows (Cython) on uvloop: `python -m benchmarks.competitors.picows_echo`.

The server follows the documentation of picows. picows delivers frames rather than messages, so a
server has to join fragments itself; this one does not.
"""

import argparse
import asyncio
import signal

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def listener(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def run(port: int, ping: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await ws_create_server(
        listener,
        "127.0.0.1",
        port,
        enable_auto_ping=ping > 0,
        auto_ping_idle_timeout=ping or 20,
        auto_ping_reply_timeout=ping or 20,
        backlog=4096,
    )
    address = next(iter(server.sockets)).getsockname()
    print(f"listening on ws://127.0.0.1:{address[1]}/", flush=True)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--ping", type=float, default=0, help="seconds between pings; 0: none")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options.port, options.ping))


if __name__ == "__main__":
    main()
