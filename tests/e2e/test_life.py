"""Life on a real cluster of two nodes, byte for byte, with correct, incorrect and slow clients."""

import json
import os
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import get, statistics
from tests.e2e.processes import PATIENCE_S, TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.net.websocket import clients
from tests.net.websocket.wire import request, text
from workers.life.rules import Grid, neighbours, next_generation

Place = tuple[int, int]

BINARY = "life.v2.bin"

BAD_SIZES: list[str | bytes] = ["0", "-1", "1001", "abc", b"32", "", "032", "1e3"]

BAD_NEIGHBOURS: list[str | bytes] = ["1 0", "0 -1", "a b", "0", "0 0 0", "", b"0 0", "00 0", "run"]

BAD_FRAMES: list[str | bytes] = [
    "1 4 4 0",  # a wrong step
    "0 5 0 1",  # outside the grid
    "0 4 4 2",
    "0 4 -1 1",
    "zero 4 4 1",
    "0 4 4",
    "0 4 4 1 1",
    "",
    "00 4 4 1",
    b"0 4 4 1",
    "9" * 1000 + " 4 4 1",
]


async def all_of(awaitables: Iterable[Any]) -> list[Any]:
    """Run all awaitables at once; returns their results in order."""
    results: Any = await gatherResults(
        [
            Deferred.fromCoroutine(one) if not isinstance(one, Deferred) else one
            for one in awaitables
        ],
        consumeErrors=True,
    )
    return list(results)


def soup(size: int) -> Grid:
    dice = random.Random(size)
    cells = [(row, column) for row in range(size) for column in range(size)]
    return Grid.of(size, [cell for cell in cells if dice.random() < 0.4])


class Worker:
    """The worker of one cell; ``around``: its neighbours and their weights."""

    def __init__(self, client: wsclient.Client, place: Place, around: dict[Place, int]) -> None:
        self.client = client
        self.place = place
        self.around = around

    def frame(self, step: int, alive: bool) -> str:
        return f"{step} {self.place[0]} {self.place[1]} {int(alive)}"


class LifeTestCase(TestCase):
    timeout = TEST_TIMEOUT_S
    cluster: Cluster

    async def start(self, *options: str) -> None:
        self.cluster = await start_cluster(self, "--nodes", "2", *options)
        self.clients: list[wsclient.Client] = []
        self.addCleanup(self.close_clients)

    def close_clients(self) -> "Deferred[Any]":
        for client in self.clients:
            client.abort()
        return gatherResults([client.closed for client in self.clients])

    async def connect(self, path: str, subprotocol: str | None = None) -> wsclient.Client:
        url = f"ws://127.0.0.1:{self.cluster.port}{path}"
        client = await wsclient.connect(reactor, url, subprotocol)
        self.clients.append(client)
        return client

    async def reset(self, size: str | bytes) -> wsclient.Closed:
        client = await self.connect("/reset/")
        client.send(size)
        closed = await client.closed
        self.clients.remove(client)
        return closed

    async def new_game(self, size: int) -> None:
        closed = await self.reset(str(size))
        self.assertEqual(closed.code, 1000)
        self.assertRegex(closed.reason, r"^[0-9a-f]{16}$")  # the game's identifier

    async def worker(self) -> wsclient.Client:
        return await self.connect("/worker/")

    async def gather(self, size: int, places: dict[Place, dict[Place, int]]) -> list[Worker]:
        """Connect all workers of a game, those of ``places`` first, up to their "run"."""
        crowd = await all_of(self.worker() for _ in range(size * size))
        for said in await all_of(client.next_message() for client in crowd):
            self.assertEqual(said, "sub")
        workers = [
            Worker(client, place, around)
            for client, (place, around) in zip(crowd, places.items(), strict=False)
        ]
        for worker in workers:
            for row, column in worker.around:
                worker.client.send(f"{row} {column}")
        for client in crowd:
            client.send("sub")
        for said in await all_of(client.next_message() for client in crowd):
            self.assertEqual(said, "run")
        workers += [Worker(client, (-1, -1), {}) for client in crowd[len(workers) :]]
        return workers

    async def whole_game(self, size: int) -> list[Worker]:
        await self.new_game(size)
        cells = [(row, column) for row in range(size) for column in range(size)]
        return await self.gather(size, {cell: neighbours(*cell, size, True) for cell in cells})

    async def play(self, workers: list[Worker], grid: Grid, first: int, steps: int) -> Grid:
        """Play; each cell must receive exactly the frames of its neighbours, once."""
        for step in range(first, first + steps):
            for worker in workers:
                worker.client.send(worker.frame(step, grid.alive(*worker.place)))
            await all_of(self.hear(worker, step, grid) for worker in workers)
            grid = next_generation(grid, wrap=True)
        return grid

    async def hear(self, worker: Worker, step: int, grid: Grid) -> None:
        heard = [await worker.client.next_message() for _ in worker.around]
        expected = [f"{step} {r} {c} {int(grid.alive(r, c))}" for r, c in worker.around]
        self.assertEqual(Counter(heard), Counter(expected), worker.place)

    async def total(self, name: str) -> float:
        """Return a metric, summed over nodes and labels."""
        return sum((await statistics(self.cluster, name)).values())


class GameTests(LifeTestCase):
    async def test_each_frame_arrives_once_on_any_node(self) -> None:
        await self.start()
        workers = await self.whole_game(5)
        connections = await statistics(self.cluster, "c10k_connections")
        self.assertEqual(set(connections), {"node0", "node1"})
        grid = await self.play(workers, soup(5), 0, 20)

        late = await self.worker()
        closed = await late.closed
        self.assertEqual((closed.code, closed.reason), (1013, "the game is full"))
        await self.play(workers, grid, 20, 2)

        await self.new_game(2)
        for worker in workers:
            closed = await worker.client.closed
            self.assertEqual((closed.code, closed.reason), (1012, "a new game was started"))
            self.assertEqual(worker.client.unread(), [])
        cells = [(row, column) for row in range(2) for column in range(2)]
        workers = await self.gather(2, {cell: neighbours(*cell, 2, True) for cell in cells})
        await self.play(workers, soup(2), 0, 5)
        self.assertEqual(await self.total("c10k_bus_gaps_total"), 0)
        self.assertEqual(await self.total("c10k_messages_dropped_total"), 0)

    async def test_a_worker_without_a_game_is_refused(self) -> None:
        await self.start()
        closed = await (await self.worker()).closed
        self.assertEqual(closed.code, 1013)
        self.assertIn("/reset/", closed.reason)

    async def test_the_smallest_game_may_be_ended_and_started_again(self) -> None:
        await self.start()
        for _ in range(3):
            workers = await self.whole_game(1)
            await self.play(workers, Grid.of(1, [(0, 0)]), 0, 3)
        await self.new_game(3)
        half = await all_of(self.worker() for _ in range(5))
        workers = await self.whole_game(2)
        for client in half:
            self.assertEqual((await client.closed).code, 1012)
            self.assertEqual(client.unread(), [])
        await self.play(workers, soup(2), 0, 3)

    async def test_two_resets_at_the_same_time_are_both_answered(self) -> None:
        """The nodes agree on which game is the newer one."""
        await self.start()
        answers = await all_of(self.reset("2") for _ in range(6))
        self.assertEqual({answer.code for answer in answers}, {1000})
        cells = [(row, column) for row in range(2) for column in range(2)]
        workers = await self.gather(2, {cell: neighbours(*cell, 2, True) for cell in cells})
        await self.play(workers, soup(2), 0, 3)


class ResumeTests(LifeTestCase):
    async def resume(self, worker: Worker) -> list[str | bytes]:
        """Connect a worker again; returns the frames that it receives up to its "run"."""
        row, column = worker.place
        worker.client = await self.connect(f"/worker/?resume={row},{column}")
        self.assertEqual(await worker.client.next_message(), "sub")
        for place in worker.around:
            worker.client.send(f"{place[0]} {place[1]}")
        worker.client.send("sub")
        early = []
        while (said := await worker.client.next_message()) != "run":
            early.append(said)
        return early

    async def hear_all(self, worker: Worker, step: int, grid: Grid) -> None:
        """Wait for the neighbours' states of a step; states that arrive again are ignored."""
        expected = {f"{step} {r} {c} {int(grid.alive(r, c))}" for r, c in worker.around}
        missing = set(expected)
        while missing:
            heard = str(await worker.client.next_message())
            if int(heard.split(" ")[0]) >= step:
                self.assertIn(heard, expected)
                missing.discard(heard)

    async def test_a_game_survives_the_death_of_a_node(self) -> None:
        await self.start()
        watcher = await self.connect("/watcher/")
        workers = await self.whole_game(4)
        start = soup(4)
        before = await self.play(workers, start, 0, 4)
        grids = [start]
        for _ in range(6):
            grids.append(next_generation(grids[-1], wrap=True))
        self.assertEqual(before, grids[4])
        for worker in workers[:8]:  # half of the cells are a step ahead
            worker.client.send(worker.frame(4, grids[4].alive(*worker.place)))
        again = self.cluster.line("node0 ready")
        os.kill(self.cluster.pids["node0"], signal.SIGKILL)
        await again
        lost = [worker for worker in workers if worker.client.closed.called]
        self.assertTrue(lost)
        self.assertLess(len(lost), 16)
        for worker in lost:
            await self.resume(worker)
            last = 4 if worker in workers[:8] else 3
            for step in (last - 1, last):
                worker.client.send(worker.frame(step, grids[step].alive(*worker.place)))
        for worker in workers[8:]:
            worker.client.send(worker.frame(4, grids[4].alive(*worker.place)))
        for step in (4, 5):
            await all_of(self.hear_all(worker, step, grids[step]) for worker in workers)
            for worker in workers:
                alive = grids[step + 1].alive(*worker.place)
                worker.client.send(worker.frame(step + 1, alive))
        if watcher.closed.called:
            watcher = await self.connect("/watcher/")
        told: set[str] = set()
        while len(told) < 16:  # the board is complete again
            message = str(await watcher.next_message())
            if message.startswith("6 "):
                told.add(message)
        expected = {f"6 {r} {c} {int(grids[6].alive(r, c))}" for r, c in (w.place for w in workers)}
        self.assertEqual(told, expected)

    async def test_resuming_an_older_game_is_refused(self) -> None:
        await self.start()
        first = (await self.reset("2")).reason
        await self.reset("2")
        client = await self.connect(f"/worker/?resume=0,0&game={first}")
        self.assertEqual(await client.closed, wsclient.Closed(1008, "a new game was started"))


class BadInputTests(LifeTestCase):
    async def test_incorrect_clients_do_not_affect_the_running_game(self) -> None:
        await self.start()
        await self.new_game(5)
        # Nine workers play on a torus; the others violate the protocol.
        cells = [(row, column) for row in range(3) for column in range(3)]
        everybody = await self.gather(5, {cell: neighbours(*cell, 3, True) for cell in cells})
        workers, spare = everybody[:9], everybody[9:]
        grid = await self.play(workers, soup(3), 0, 2)
        step = 2
        for size in BAD_SIZES:
            closed = await self.reset(size)
            self.assertEqual(closed.code, 1008, size)
            self.assertEqual(closed.reason, "the size must be a whole number from 1 to 1000")
        grid = await self.play(workers, grid, step, 1)
        for frame in BAD_FRAMES:
            client = spare.pop().client
            client.send(frame)
            client.send("0 4 4 1")
            closed = await client.closed
            self.assertEqual(closed.code, 1008, frame)
            self.assertTrue(closed.reason, frame)
            step += 1
            grid = await self.play(workers, grid, step, 1)
        # After its first frame a worker may send for this cell only.
        client = spare.pop().client
        for frame in ("0 3 3 1", "1 3 3 0", "2 3 4 0"):
            client.send(frame)
        closed = await client.closed
        self.assertEqual((closed.code, closed.reason), (1008, "cell 3 4 is not yours"))
        await self.play(workers, grid, step + 1, 3)

    async def test_invalid_neighbours_are_refused(self) -> None:
        await self.start()
        for message in BAD_NEIGHBOURS:
            await self.new_game(1)
            client = await self.worker()
            self.assertEqual(await client.next_message(), "sub")
            client.send(message)
            closed = await client.closed
            self.assertEqual(closed.code, 1008, message)
            self.assertTrue(closed.reason, message)
        await self.new_game(1)
        client = await self.worker()
        for _ in range(9):
            client.send("0 0")
        self.assertEqual(await client.next_message(), "sub")
        closed = await client.closed
        self.assertEqual(closed, wsclient.Closed(1008, 'more than 8 neighbours; expected "sub"'))


class WatcherTests(LifeTestCase):
    async def status_until(self, watcher: wsclient.Client, condition: Callable[[Any], bool]) -> Any:
        while True:
            message = await watcher.next_message()
            if isinstance(message, str) and condition(json.loads(message)):
                return json.loads(message)

    async def follow(self, watcher: wsclient.Client, size: int, last: int) -> bytearray:
        """Return the board after the last step, from a snapshot and later changes."""
        states = bytearray(size * size)
        while True:
            message = await watcher.next_message()
            if isinstance(message, str):
                continue
            if message[:1] == b"S":
                told, step = struct.unpack_from("<HI", message, 1)
                if told != size:
                    continue
                self.assertEqual(len(message), 7 + (size * size + 7) // 8)
                bits = message[7:]
                states = bytearray(bits[i >> 3] >> (i & 7) & 1 for i in range(size * size))
                if step == last:
                    return states
                continue
            self.assertEqual(message[:1], b"D")
            step, count = struct.unpack_from("<II", message, 1)
            self.assertEqual(len(message), 9 + 4 * count)
            for (code,) in struct.iter_unpack("<I", message[9:]):
                states[code >> 1] = code & 1
            if step == last:
                return states

    async def watcher_of_each_node(self) -> list[wsclient.Client]:
        """Open watchers until there is one on each node, because the kernel chooses the node."""
        found: dict[str, wsclient.Client] = {}
        before = await statistics(self.cluster, "c10k_connections")
        while len(found) < len(before):
            watcher = await self.connect("/watcher/", BINARY)
            now = await statistics(self.cluster, "c10k_connections")
            for node in (node for node, number in now.items() if number > before[node]):
                found.setdefault(node, watcher)
            before = now
        return list(found.values())

    async def test_every_kind(self) -> None:
        await self.start()
        watchers = await self.watcher_of_each_node()
        idle = watchers[0]
        self.assertEqual(await idle.next_message(), b"S" + bytes(6))
        self.assertEqual(json.loads(str(await idle.next_message()))["phase"], "idle")
        writer = await self.connect("/watcher/")
        await self.new_game(4)
        self.assertEqual(await idle.next_message(), b"S\x04\x00" + bytes(6))
        status = await self.status_until(idle, lambda status: True)
        self.assertEqual((status["phase"], status["size"], status["needed"]), ("gathering", 4, 16))
        cells = [(row, column) for row in range(4) for column in range(4)]
        workers = await self.gather(4, {cell: neighbours(*cell, 4, True) for cell in cells})
        status = await self.status_until(
            idle, lambda status: status["phase"] == "running" and status["subscribed"] == 16
        )
        self.assertEqual(status["connected"], 16)

        start = soup(4)
        grid = start
        for step in range(6):
            grid = await self.play(workers, grid, step, 1)
            told = [await writer.next_message() for _ in cells]
            expected = [f"{step} {r} {c} {int(start.alive(r, c))}" for r, c in cells]
            self.assertEqual(sorted(map(str, told)), sorted(expected))
            last, start = start, grid
        for watcher in watchers:  # after this each node has the last step
            self.assertEqual(bytes(await self.follow(watcher, 4, 5)), last.states())
        late = await self.connect("/watcher/", BINARY)
        snapshot = await late.next_message()
        assert isinstance(snapshot, bytes)
        self.assertEqual(snapshot[:7], b"S\x04\x00\x05\x00\x00\x00")
        late_writer = await self.connect("/watcher/")
        told = [await late_writer.next_message() for _ in cells]
        self.assertEqual(told, [f"5 {r} {c} {int(last.alive(r, c))}" for r, c in cells])
        # An unknown subprotocol is treated as none.
        other = await self.raw(
            request(b"Sec-WebSocket-Protocol: life.v9").replace(b"/ws", b"/watcher/"),
            b"5 3 3 ",
        )
        self.assertTrue(other.startswith(b"HTTP/1.1 101 "), other)
        self.assertNotIn(b"Sec-WebSocket-Protocol", other)

    async def raw(self, data: bytes, until: bytes) -> bytes:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.cluster.port)
        client: Any = await connectProtocol(endpoint, clients.Client())
        client.transport.write(data)
        await client.until_received(until)
        client.transport.abortConnection()
        await client.until_lost()
        received: bytes = client.received
        return received

    async def test_a_watcher_that_never_reads_skips_steps_and_stays_connected(self) -> None:
        # It does not answer pings either, and the test takes long on a busy machine.
        await self.start("--ping-interval", "300", "--ping-timeout", "300")
        slow = await deferToThread(self.open_slow)
        self.addCleanup(slow.close)
        for _ in range(300):
            await self.new_game(1000)  # each snapshot has 125 kB
            if await self.total("c10k_messages_conflated_total"):
                break
        else:
            self.fail("nothing was conflated")
        # More than half a megabyte above one message would be wrong: skipped steps are not queued.
        queued = await self.total("c10k_send_queue_bytes")
        self.assertLess(queued, 1 << 19)
        conflated = await self.total("c10k_messages_conflated_total")
        workers = await self.whole_game(3)
        watchers = await self.watcher_of_each_node()
        grid = soup(3)
        await self.play(workers, grid, 0, 30)
        for _ in range(29):
            grid = next_generation(grid, wrap=True)
        for good in watchers:  # after this the slow watcher's node has the last step, too
            self.assertEqual(bytes(await self.follow(good, 3, 29)), grid.states())
        self.assertGreater(await self.total("c10k_messages_conflated_total"), conflated)
        self.assertLessEqual(await self.total("c10k_send_queue_bytes"), queued)
        # When it reads at last, it receives the newest board on the same connection.
        newest = await deferToThread(self.read_until, slow, b"S\x03\x00")
        self.assertEqual(newest[:7], b"S\x03\x00" + (29).to_bytes(4, "little"))

    def open_slow(self) -> socket.socket:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.settimeout(PATIENCE_S)
        slow.connect(("127.0.0.1", self.cluster.port))
        offer = b"Sec-WebSocket-Protocol: " + BINARY.encode()
        slow.sendall(request(offer).replace(b"/ws", b"/watcher/"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += slow.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return slow

    def read_until(self, slow: socket.socket, start: bytes) -> bytes:
        """Return the payload of the first message that begins with this byte."""
        # Megabytes through a receive window of a few bytes would take too long.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        stream = slow.makefile("rb")
        while True:
            first, size = stream.read(2)
            if size >= 126:
                size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
            payload: bytes = stream.read(size)
            assert first in (0x81, 0x82), f"no message: {first:#x} {payload[:50]!r}"
            if payload.startswith(start):
                return payload


class HandshakeTests(LifeTestCase):
    async def answer(self, data: bytes) -> bytes:
        """Return all bytes until the server closes, or the answer to a successful upgrade."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.cluster.port)
        client: Any = await connectProtocol(endpoint, clients.Client())
        client.transport.write(data)
        await client.until(
            lambda: (
                client.lost is not None
                or (b" 101 " in client.received and b"\r\n\r\n" in client.received)
            )
        )
        client.transport.abortConnection()
        await client.until_lost()
        received: bytes = client.received
        return received

    def upgrade(self, *headers: bytes, path: bytes = b"/watcher/", host: str = "") -> bytes:
        host = host or f"127.0.0.1:{self.cluster.port}"
        return request(*headers).replace(b"/ws", path, 1).replace(b"localhost:8000", host.encode())

    async def test_every_kind(self) -> None:
        await self.start()
        own = f"http://127.0.0.1:{self.cluster.port}".encode()
        good = self.upgrade()
        for status, data in [
            (101, good),
            (101, self.upgrade(b"Origin: " + own)),
            (101, self.upgrade(host=f"localhost:{self.cluster.port}")),
            (403, self.upgrade(b"Origin: http://evil.example")),
            (403, self.upgrade(b"Origin: null")),
            (403, self.upgrade(b"Origin: http://127.0.0.1.evil.example")),
            (400, self.upgrade(b"Origin: " + own + b".evil.example")),
            (404, self.upgrade(path=b"/nothing/")),
            (404, self.upgrade(path=b"/")),
            (404, self.upgrade(path=b"/watcher/%00")),
            (404, self.upgrade(path=b"/watcher/%2e%2e/")),
            (404, self.upgrade(path=b"/watcher/%ff/")),
            (400, self.upgrade(host="evil.example")),
            (400, self.upgrade(b"Host: 127.0.0.1")),
            (400, good.replace(b"Version: 13", b"Version: 99")),
            (400, good.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=")),
            (405, good.replace(b"GET", b"POST", 1)),
            (400, self.upgrade(*[b"X: " + b"x" * 8000] * 3)),
            (431, self.upgrade(b"X: " + b"x" * 100_000)),
            (431, self.upgrade(path=b"/" + b"a" * 65536)),
            (400, b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        ]:
            answer = await self.answer(data)
            self.assertTrue(
                answer.startswith(b"HTTP/1.1 %d " % status), (status, data[:200], answer)
            )
        code, body = await get(self.cluster.base_url + "worker/")
        self.assertEqual(code, 426)
        self.assertIn("WebSocket", body)

    async def test_a_frame_may_arrive_with_the_handshake(self) -> None:
        await self.start()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.cluster.port)
        client: Any = await connectProtocol(endpoint, clients.Client())
        client.transport.write(self.upgrade(path=b"/reset/") + text("3"))
        await client.until_received(b"\x88\x12\x03\xe8")  # with the identifier of the game
        client.transport.abortConnection()
        await client.until_lost()
        watcher = await self.connect("/watcher/", BINARY)
        self.assertEqual(await watcher.next_message(), b"S\x03\x00" + bytes(6))
