"""CPU time of the watchers of a game: `python -m benchmarks.watchers`.

    python -m benchmarks.watchers                 32x32 on 4 nodes at 10 steps/s, 100 watchers
    python -m benchmarks.watchers --rounds 5 --json

Each round plays the same verified game three times, each on a new cluster: without watchers, with
`--watchers` watchers of the binary protocol, and with one further watcher that never reads. All
other watchers must receive the last step. CPU time is that of all server processes while the game
runs (see benchmarks.life). The size of the queues is the largest that the metrics report.
"""

import argparse
import json
import selectors
import socket
import statistics
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import command, rounds
from benchmarks.life import add_game_options, play
from benchmarks.servers import Failed, Server, cluster
from workers.cli.argument_types import positive, seconds

HANDSHAKE = (
    "GET /watcher/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    "Sec-WebSocket-Protocol: life.v2.bin\r\n\r\n"
)
POLL_S = 0.25


class Watchers(threading.Thread):
    """Plain sockets that read the watchers' frames and record the newest step."""

    def __init__(self, port: int, count: int, stalled: int) -> None:
        super().__init__(daemon=True)
        self.newest = [-1] * count
        self._selector = selectors.DefaultSelector()
        self._ended = False
        self._stalled = []
        for number in range(count + stalled):
            sock = socket.socket()
            if number >= count:  # a small receive buffer, which is full before the game ends
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            key = b64encode(number.to_bytes(16, "big")).decode()
            sock.sendall(HANDSHAKE.format(port=port, key=key).encode())
            if number < count:
                self._selector.register(sock, selectors.EVENT_READ, (number, bytearray()))
            else:
                self._stalled.append(sock)

    def run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(POLL_S):
                number, buffer = key.data
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                buffer += data
                self._take(number, buffer)

    def end(self) -> None:
        """Stop reading and disconnect."""
        self._ended = True
        self.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        for sock in self._stalled:
            sock.close()

    def _take(self, number: int, buffer: bytearray) -> None:
        if buffer.startswith(b"HTTP/1.1 101"):
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            del buffer[: end + 4]
        while len(buffer) >= 2:
            length, start = buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < start + length:
                return
            payload = bytes(buffer[start : start + length])
            del buffer[: start + length]
            if payload[:1] == b"D":
                self.newest[number] = int.from_bytes(payload[1:5], "little")


def queue_bytes(admin: str) -> float:
    """Return the bytes in the send queues of all connections, from the metrics."""
    with urllib.request.urlopen(f"{admin}metrics", timeout=5) as response:
        text = response.read().decode()
    lines = (line for line in text.splitlines() if line.startswith("c10k_send_queue_bytes{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def watched_game(
    options: argparse.Namespace, folder: Path, watchers: int, stalled: int
) -> dict[str, Any]:
    """Play one game on a new cluster; returns the CPU time per step and the largest queues."""
    largest = 0.0
    over = threading.Event()
    with Server(cluster(options.nodes), folder) as server:
        audience = Watchers(int(server.url.rpartition(":")[2]), watchers, stalled)
        audience.start()

        def look() -> None:
            nonlocal largest
            while not over.wait(POLL_S):
                largest = max(largest, queue_bytes(server.admin_url))

        looking = threading.Thread(target=look, daemon=True)
        if stalled:  # only then, because reading the metrics costs the server CPU time
            looking.start()
        game = play(server, options.size, options.steps, rate=options.rate)
        if not all_saw(audience, options.steps):
            raise Failed(f"watchers received only the steps {sorted(set(audience.newest))}")
        over.set()
        audience.end()
    return {"cpu_ms_a_step": game.cpu_ms, "queue_bytes": largest, "steps/s": game.steps_per_second}


def all_saw(audience: Watchers, step: int) -> bool:
    """Whether all watchers receive a step within a few polls."""
    for _ in range(20):
        if all(newest == step for newest in audience.newest):
            return True
        threading.Event().wait(POLL_S)
    return False


def parser() -> argparse.ArgumentParser:
    found = command.parser("watchers", __doc__)
    command.add_output_options(found)
    add_game_options(found)
    add = found.add_argument
    add("-l", "--rate", type=seconds, default=10, metavar="RATE", help="steps a second (10)")
    add("--watchers", type=positive, default=100, metavar="N", help="number of watchers (100)")
    add("--nodes", type=positive, default=4, metavar="N", help="of the cluster (4)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    audiences = {
        "nobody watches": (0, 0),
        f"{options.watchers} watchers": (options.watchers, 0),
        "one more never reads": (options.watchers, 1),
    }
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in audiences}
    with command.scratch_folder() as folder:
        for number, name in rounds.turns(list(audiences), options.rounds):
            found = watched_game(options, folder, *audiences[name])
            results[name].append(found)
            rounds.note(number, name, f"{found['cpu_ms_a_step']:.1f} ms CPU a step")
    rows = [
        {"audience": name}
        | {part: statistics.median(game[part] for game in games) for part in games[0]}
        for name, games in results.items()
    ]
    base = rows[0]["cpu_ms_a_step"]
    if options.json:
        print(json.dumps({"rounds": options.rounds, "watchers": options.watchers, "rows": rows}))
        return 0
    print(f"{'':24}CPU ms/step  against nobody  largest send queues, bytes")
    for row in rows:
        ratio = row["cpu_ms_a_step"] / base if base else float("nan")
        print(
            f"{row['audience']:24}{row['cpu_ms_a_step']:11.1f}  {ratio:14.2f}"
            f"  {row['queue_bytes']:26,.0f}"
        )
    return 0


if __name__ == "__main__":
    command.run(main)
