"""Not a server: several processes that send each message to their clients, and do nothing else.

What they cost is the kernel's part of a broadcast, which every server has on this machine. The
process that has the publisher writes each message to a pipe of each process; these call ``send`` of
each subscriber's socket, with a frame that is encoded once. They answer every opening handshake
with the same bytes, and read nothing else of a subscriber.
"""

import argparse
import os
import select
import signal
import socket
from typing import NoReturn

from benchmarks.load import masked
from benchmarks.subscribers import PAYLOAD
from cluster.net.websocket.frames import text_frame

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""The answer to the key of RFC 6455, section 1.3, which all clients of the benchmarks send."""

MASKED = 2 + 4 + PAYLOAD
"""Bytes of a publisher's frame: header, mask and payload."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, metavar="PORT", help="0: a free one (0)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    options = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", options.port), backlog=4096)
    listening.setblocking(False)
    pipes = [os.pipe() for _ in range(options.workers)]
    writing = [end for _, end in pipes]
    children = []
    for reading, _ in pipes[1:]:
        child = os.fork()
        if not child:
            run(listening, reading, writing)
        children.append(child)

    def end(*signaled: object) -> NoReturn:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)  # how the benchmark ends a server
    print(f"ws://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    run(listening, pipes[0][0], writing)


def run(listening: socket.socket, reading: int, pipes: list[int]) -> None:
    """Run one process, until a signal ends it.

    Args:
        listening: Where clients connect.
        reading: The pipe from which this process reads messages.
        pipes: Those to which it writes the messages of a publisher.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark ends it
    clients: dict[int, socket.socket] = {}
    publishers: dict[int, socket.socket] = {}
    subscribers: list[socket.socket] = []
    rest = b""  # of a frame
    with select.epoll() as poll:
        poll.register(listening, select.EPOLLIN)
        poll.register(reading, select.EPOLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == reading:
                    frame = text_frame(os.read(reading, PAYLOAD))
                    for subscriber in subscribers:
                        subscriber.send(frame)
                elif descriptor == listening.fileno():
                    try:
                        client, _ = listening.accept()
                    except BlockingIOError:  # another process was faster
                        continue
                    clients[client.fileno()] = client
                    poll.register(client, select.EPOLLIN)
                elif descriptor in clients:
                    client = clients.pop(descriptor)
                    request = client.recv(4096)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.send(ACCEPTED)
                    if b"role=publisher" in request:
                        publishers[descriptor] = client
                    else:
                        subscribers.append(client)
                        poll.unregister(descriptor)
                else:
                    received = publishers[descriptor].recv(65536)
                    if not received:
                        poll.unregister(descriptor)
                        continue
                    rest += received
                    while len(rest) >= MASKED:
                        message = masked(rest[MASKED - PAYLOAD : MASKED])
                        rest = rest[MASKED:]
                        for pipe in pipes:
                            os.write(pipe, message)


if __name__ == "__main__":
    main()
