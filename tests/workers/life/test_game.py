"""Whole games in this process, against a plain relay, right and wrong."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from benchmarks.peers.autobahn_life import LifeFactory, LifeProtocol
from tests.workers.patience import PATIENCE_S, be_patient
from workers.connection import dialer
from workers.connection.target import BadURL, Target, resolve
from workers.life.game import LifeGame, Summary
from workers.life.patterns import BUILT_IN, place
from workers.life.plan import Plan
from workers.life.progress import Gathered, Silence
from workers.life.rules import Grid
from workers.life.shard import LifeShard
from workers.life.shard_process import LifeShardProcess, plan_as_json, plan_from_json

reactor: Any = _reactor


class Corrupting(LifeProtocol):
    """Turns the states of one cell in one step round on their way."""

    def sendPreparedMessage(self, message: Any) -> None:
        if message.payload[2:] == b"2 1 3 1"[2:] and message.payload.startswith(b"2 "):
            message = self.factory.prepareMessage(b"2 1 3 0")
        super().sendPreparedMessage(message)


class Doubling(LifeProtocol):
    """Sends an update twice."""

    def sendPreparedMessage(self, message: Any) -> None:
        super().sendPreparedMessage(message)
        if message.payload.startswith(b"1 2 2 "):
            super().sendPreparedMessage(message)


class Closing(LifeProtocol):
    """Loses its connection in the middle of the game."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if payload.startswith(b"3 2 2 "):
            self.transport.abortConnection()
        else:
            super().onMessage(payload, isBinary)


class Recorded(Silence):
    def __init__(self) -> None:
        self.last = Gathered()
        self.ended = 0

    def show(self, now: Gathered, running: bool) -> None:
        self.last = now

    def end(self) -> None:
        self.ended += 1


class GameTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.factory = LifeFactory(reactor, prepared=True)
        be_patient(self, self.factory)
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.target = Target(
            f"ws://127.0.0.1:{port.getHost().port}", "127.0.0.1", port.getHost().port
        )
        self.progress = Recorded()
        self.events: list[str] = []

    def plan(self, start: Grid, **options: Any) -> Plan:
        options.setdefault("targets", (self.target,))
        options.setdefault("verify", True)
        options.setdefault("timeout", float(PATIENCE_S))
        return Plan(start, **options)

    def game(self, plan: Plan) -> LifeGame:
        make: Any = LifeShard if plan.shards == 1 else LifeShardProcess
        return LifeGame(
            reactor,
            plan,
            lambda number, listener: make(reactor, plan, number, listener),
            self.progress,
            self.events.append,
        )

    async def play(self, start: Grid, **options: Any) -> Summary:
        return await self.game(self.plan(start, **options)).play()

    def glider(self, size: int) -> Grid:
        return Grid.of(size, place(BUILT_IN["glider"], size))

    async def test_every_cell_equals_the_oracle(self) -> None:
        summary = await self.play(self.glider(7), last=12)
        self.assertEqual(summary.error, None)
        self.assertTrue(summary.verified)
        self.assertEqual((summary.steps, summary.checked), (12, 13))
        self.assertEqual(summary.totals.sent, 49 * (8 + 1 + 13))
        self.assertEqual(summary.totals.received, 49 * (2 + 8 * 13))
        self.assertGreater(len(summary.totals.latencies), 49 * 13 // 2)
        self.assertEqual(self.events, ["connected", "running", "stepped"])
        self.assertEqual(self.progress.last, Gathered(49, 49, 12))
        self.assertEqual(self.progress.ended, 1)
        self.assertTrue(
            summary.as_text().endswith("verified: 12 steps of 7×7, every cell equals the oracle")
        )

    async def test_small_grids_with_and_without_wrap(self) -> None:
        for size in (1, 2, 3):
            for wrap in (True, False):
                start = Grid(size, (1 << size * size) - 1)
                summary = await self.play(start, wrap=wrap, last=4)
                self.assertIsNone(summary.error)
                self.assertTrue(summary.verified, (size, wrap))

    async def test_no_steps_at_all(self) -> None:
        summary = await self.play(self.glider(4), last=0)
        self.assertTrue(summary.verified)
        self.assertEqual(summary.checked, 1)

    async def test_several_servers_take_turns(self) -> None:
        """Two names of one server: cells alternate, and all get there."""
        summary = await self.play(self.glider(5), last=3, targets=(self.target, self.target))
        self.assertTrue(summary.verified)

    async def test_further_loopback_addresses_when_ports_run_out(self) -> None:
        """Five ports an address: cells 5-9 come from 127.0.0.2, and so on."""
        self.patch(dialer, "ports_per_address", lambda: 5)
        sources = []

        class Noting(LifeProtocol):
            def onOpen(self) -> None:
                if self.path == "/worker/":
                    sources.append(self.transport.getPeer().host)
                super().onOpen()

        self.factory.protocol = Noting
        summary = await self.play(self.glider(4), last=2)
        self.assertTrue(summary.verified)
        self.assertEqual(
            sorted(sources),
            ["127.0.0.1"] * 5 + ["127.0.0.2"] * 5 + ["127.0.0.3"] * 5 + ["127.0.0.4"],
        )

    async def test_shares_in_processes(self) -> None:
        summary = await self.play(self.glider(6), last=8, shards=2)
        self.assertIsNone(summary.error)
        self.assertTrue(summary.verified)
        self.assertEqual(summary.totals.received, 36 * (2 + 8 * 9))
        # One that is complete as soon as the cell hears of it is not measured.
        self.assertGreater(len(summary.totals.latencies), 36 * 9 // 2)

    async def test_keeps_its_pace(self) -> None:
        summary = await self.play(self.glider(4), last=3, rate=5.0)
        self.assertTrue(summary.verified)
        # Three steps are 0.6 s, but the clock is looked at a moment after the first has begun.
        self.assertGreaterEqual(summary.seconds, 0.5)

    async def test_a_changed_message_is_found(self) -> None:
        """A blinker whose middle is not heard of: its neighbours come out wrong."""
        self.factory.protocol = Corrupting
        start = Grid.of(5, [(1, 2), (1, 3), (1, 4)])
        summary = await self.play(start, last=5)
        self.assertIs(summary.verified, False)
        self.assertEqual(summary.checked, 3)
        self.assertIn("wrong: step 3, cell", summary.error or "")
        self.assertNotIn("verified", summary.as_text())

    async def test_a_message_twice_is_found(self) -> None:
        self.factory.protocol = Doubling
        summary = await self.play(self.glider(5), last=5)
        self.assertIn("b'1 2 2 ", summary.error or "")
        self.assertIn("a second time", summary.error or "")
        self.assertIsNot(summary.verified, True)

    async def test_a_lost_connection(self) -> None:
        self.factory.protocol = Closing
        summary = await self.play(self.glider(5), last=5)
        self.assertIn("the server went away: cell 2,2", summary.error or "")
        self.assertIsNone(summary.verified)

    async def test_a_full_game(self) -> None:
        game = self.game(self.plan(self.glider(5), last=3))

        def take_a_place(size: int) -> None:
            self.factory.game.cells -= 1

        self.patch(LifeProtocol, "reset", self.resetting(take_a_place))
        summary = await game.play()
        self.assertEqual(summary.error, "the game is full: the game is full (1013)")

    def resetting(self, then: Any) -> Any:
        original = LifeProtocol.reset

        def reset(protocol: LifeProtocol, payload: bytes) -> None:
            original(protocol, payload)
            then(int(payload))

        return reset

    async def test_another_game_begins(self) -> None:
        playing = Deferred.fromCoroutine(self.play(self.glider(4), rate=5.0))
        while "running" not in self.events:
            await self.next_turn()
        other = await self.play(self.glider(5), last=2)
        summary = await playing
        self.assertIn("(1012)", summary.error or "")
        self.assertTrue(other.verified)

    async def test_interrupted(self) -> None:
        game = self.game(self.plan(self.glider(4)))
        playing = Deferred.fromCoroutine(game.play())
        while self.progress.last.step < 3:
            await self.next_turn()
        game.interrupt()
        summary = await playing
        self.assertTrue(summary.interrupted)
        self.assertIsNone(summary.error)
        self.assertIsNone(summary.verified)
        self.assertGreaterEqual(summary.checked, 3)
        self.assertNotIn("verified:", summary.as_text())

    async def test_interrupted_before_it_began(self) -> None:
        self.patch(LifeProtocol, "reset", lambda protocol, payload: game.interrupt())
        game = self.game(self.plan(self.glider(4)))
        summary = await game.play()
        self.assertTrue(summary.interrupted)
        self.assertIsNone(summary.error)
        self.assertEqual(summary.as_text(), "")

    async def test_a_refused_reset(self) -> None:
        self.patch(
            LifeProtocol,
            "reset",
            lambda protocol, payload: protocol.sendCloseFrame(
                code=1008, reasonUtf8=b"too large", isReply=False
            ),
        )
        summary = await self.play(self.glider(4), last=1)
        self.assertIn("/reset/ did not start a game: too large (1008)", summary.error or "")
        self.assertEqual(self.progress.ended, 1)

    async def test_no_such_page(self) -> None:
        target = Target(self.target.url + "/elsewhere", "127.0.0.1", self.target.port)
        summary = await self.play(self.glider(4), last=1, targets=(target,))
        self.assertIn("404", summary.error or "")

    async def test_nobody_there(self) -> None:
        target = Target("ws://127.0.0.1:1", "127.0.0.1", 1)
        summary = await self.play(self.glider(4), last=1, targets=(target,))
        self.assertEqual(
            summary.error,
            "cannot connect to ws://127.0.0.1:1: connection refused; "
            "is the server running, and is --url right?",
        )

    async def test_a_server_of_something_else(self) -> None:
        def refuse(peer: LifeProtocol, request: Any) -> None:
            raise ConnectionDeny(404, "Not Found")

        self.patch(LifeProtocol, "onConnect", refuse)
        summary = await self.play(self.glider(4), last=1)
        why = "handshake refused: 404 Not Found; the server has nothing at this path"
        self.assertIn(f"/reset/ did not start a game: {why}", summary.error or "")

    def next_turn(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        return turn


class PlanTests(TestCase):
    def test_survives_the_pipe(self) -> None:
        plan = Plan(
            Grid(3, 0b101),
            (Target("ws://h", "127.0.0.1", 80),),
            wrap=False,
            last=7,
            rate=2.5,
            shards=3,
        )
        self.assertEqual(plan_from_json(plan_as_json(plan)), plan)


class ResolveTests(TestCase):
    async def test_base_urls(self) -> None:
        for url, expected in {
            "ws://127.0.0.1:8000": Target("ws://127.0.0.1:8000", "127.0.0.1", 8000),
            "ws://127.0.0.1:8000/": Target("ws://127.0.0.1:8000", "127.0.0.1", 8000),
            "127.0.0.1:81/life/": Target("ws://127.0.0.1:81/life", "127.0.0.1", 81),
            "ws://[::1]": Target("ws://[::1]", "::1", 80),
        }.items():
            self.assertEqual(await resolve(reactor, url), expected)

    async def test_others(self) -> None:
        for url in (
            "http://127.0.0.1",
            "wss://127.0.0.1",
            "ws://",
            "ws://127.0.0.1:x",
            "ws://h?a=b",
            "ws://[::1",
            "ws://127.0.0.1/a b",
            "",
        ):
            try:
                await resolve(reactor, url)
            except BadURL:
                continue
            self.fail(url)
