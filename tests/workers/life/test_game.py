"""Complete games on a correct relay, and on relays with errors."""

from dataclasses import dataclass
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from benchmarks.competitors.autobahn_life import LifeFactory, LifeProtocol
from tests.workers.patience import PATIENCE_S, be_patient
from workers.cli.run import CannotRun
from workers.connection import dialer
from workers.connection.single_connection import NotOpened
from workers.connection.target import Target
from workers.life.cell_clients import LifePlan
from workers.life.game import Game, reset
from workers.life.patterns import BUILT_IN, cells_on_grid
from workers.life.progress import Counts, Silence
from workers.life.rules import Grid
from workers.processes import shard
from workers.reporting.latency import Latencies
from workers.reporting.summary import Outcome, merged_latencies

reactor: Any = _reactor


class Corrupting(LifeProtocol):
    """Relays a wrong state of one cell in one step."""

    def sendPreparedMessage(self, message: Any) -> None:
        if message.payload[2:] == b"2 1 3 1"[2:] and message.payload.startswith(b"2 "):
            message = self.factory.prepareMessage(b"2 1 3 0")
        super().sendPreparedMessage(message)


class Doubling(LifeProtocol):
    """Relays an update twice."""

    def sendPreparedMessage(self, message: Any) -> None:
        super().sendPreparedMessage(message)
        if message.payload.startswith(b"1 2 2 "):
            super().sendPreparedMessage(message)


class Closing(LifeProtocol):
    """Loses a connection during the game."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if payload.startswith(b"3 2 2 "):
            self.transport.abortConnection()
        else:
            super().onMessage(payload, isBinary)


class Recorded(Silence):
    def __init__(self) -> None:
        self.last = Counts()
        self.ended = 0

    def show(self, now: Counts, running: bool) -> None:
        self.last = now

    def end(self) -> None:
        self.ended += 1


@dataclass
class Played:
    """A game that is over."""

    game: Game
    outcome: Outcome

    @property
    def verified(self) -> bool | None:
        return self.game.verified

    @property
    def compared(self) -> int:
        return self.game.verification.generations

    @property
    def error(self) -> str:
        """Return why the game ended early; empty if it did not, or if it was interrupted."""
        stopped = self.game.swarm.stopped
        return (stopped and stopped.why) or ""

    @property
    def latencies(self) -> Latencies:
        return merged_latencies(self.game.swarm.reports, "latency")

    @property
    def text(self) -> str:
        return "\n".join(self.outcome.lines)

    def __getitem__(self, name: str) -> Any:
        return self.outcome.values[name]


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

        # The function is for processes that do nothing else; it would affect later tests.
        self.patch(shard, "keep_garbage_collection_short", lambda: None)

    def game(self, start: Grid, **options: Any) -> Game:
        options.setdefault("targets", (self.target,))
        options.setdefault("verify", True)
        options.setdefault("timeout", float(PATIENCE_S))
        plan = LifePlan.of(start, **options)
        return Game(reactor, plan, self.progress, self.events.append)

    async def play_game(self, game: Game) -> Played:
        plan = game._plan
        await reset(reactor, plan.targets[0], plan.size, plan.timeout)
        return Played(game, await game.play())

    async def play(self, start: Grid, **options: Any) -> Played:
        return await self.play_game(self.game(start, **options))

    def glider(self, size: int) -> Grid:
        return Grid.of(size, cells_on_grid(BUILT_IN["glider"], size))

    async def test_every_cell_equals_the_oracle(self) -> None:
        played = await self.play(self.glider(7), last=12)
        self.assertEqual(played.error, "")
        self.assertTrue(played.verified)
        self.assertEqual((played["steps"], played.compared), (12, 13))
        self.assertEqual(played["messages_sent"], 49 * (8 + 1 + 13))
        self.assertEqual(played["messages_received"], 49 * (2 + 8 * 13))
        self.assertGreater(len(played.latencies), 49 * 13 // 2)
        self.assertEqual(self.events, ["connected", "running", "stepped"])
        self.assertEqual(self.progress.last, Counts(49, 49, 12))
        self.assertEqual(self.progress.ended, 1)
        self.assertTrue(
            played.text.endswith("verified: 12 steps of 7×7, every cell equals the oracle")
        )

    async def test_small_grids_with_and_without_wrap(self) -> None:
        for size in (1, 2, 3):
            for wrap in (True, False):
                start = Grid(size, (1 << size * size) - 1)
                played = await self.play(start, wrap=wrap, last=4)
                self.assertEqual(played.error, "")
                self.assertTrue(played.verified, (size, wrap))

    async def test_a_game_may_have_no_steps(self) -> None:
        played = await self.play(self.glider(4), last=0)
        self.assertTrue(played.verified)
        self.assertEqual(played.compared, 1)

    async def test_several_servers_take_turns(self) -> None:
        """With the same server given twice, cells alternate, and all are connected."""
        played = await self.play(self.glider(5), last=3, targets=(self.target, self.target))
        self.assertTrue(played.verified)

    async def test_further_loopback_addresses_when_ports_run_out(self) -> None:
        """With five ports per address, cells 5-9 connect from 127.0.0.2, and so on."""
        self.patch(dialer, "ports_per_address", lambda: 5)
        sources = []

        class Noting(LifeProtocol):
            def onOpen(self) -> None:
                if self.path == "/worker/":
                    sources.append(self.transport.getPeer().host)
                super().onOpen()

        self.factory.protocol = Noting
        played = await self.play(self.glider(4), last=2)
        self.assertTrue(played.verified)
        self.assertEqual(
            sorted(sources),
            ["127.0.0.1"] * 5 + ["127.0.0.2"] * 5 + ["127.0.0.3"] * 5 + ["127.0.0.4"],
        )

    async def test_shards_in_processes(self) -> None:
        played = await self.play(self.glider(6), last=8, shards=2)
        self.assertEqual(played.error, "")
        self.assertTrue(played.verified)
        self.assertEqual(played["messages_received"], 36 * (2 + 8 * 9))
        # A step that is complete when the cell sends its state is not measured.
        self.assertGreater(len(played.latencies), 36 * 9 // 2)

    async def test_the_rate_of_steps_is_kept(self) -> None:
        played = await self.play(self.glider(4), last=3, rate=5.0)
        self.assertTrue(played.verified)
        # Three steps take 0.6 s, but the clock starts shortly after the beginning of the first.
        self.assertGreaterEqual(played["seconds"], 0.5)

    async def test_a_changed_message_is_found(self) -> None:
        """The neighbours of a blinker's middle receive a wrong state, and become wrong
        themselves."""
        self.factory.protocol = Corrupting
        start = Grid.of(5, [(1, 2), (1, 3), (1, 4)])
        played = await self.play(start, last=5)
        self.assertIs(played.verified, False)
        self.assertEqual(played.compared, 3)
        self.assertIn("wrong: step 3, cell", played.error)
        self.assertNotIn("verified", played.text)

    async def test_a_duplicate_is_found(self) -> None:
        self.factory.protocol = Doubling
        played = await self.play(self.glider(5), last=5)
        self.assertEqual(played.outcome.problems, ["8 messages arrived a second time"])
        self.assertIs(played.verified, False)

    async def test_a_lost_connection(self) -> None:
        self.factory.protocol = Closing
        played = await self.play(self.glider(5), last=5, resume=False)
        self.assertIn("the connection of cell 2,2 was lost", played.error)
        self.assertIsNone(played.verified)

    async def test_a_full_game_ends_with_an_error(self) -> None:
        def leave_no_slot_for_the_last(size: int) -> None:
            self.factory.game.cells -= 1

        self.patch(LifeProtocol, "reset", self.resetting(leave_no_slot_for_the_last))
        played = await self.play(self.glider(5), last=3)
        self.assertEqual(played.error, "the game is full: the game is full (1013)")

    def resetting(self, then: Any) -> Any:
        original = LifeProtocol.reset

        def reset(protocol: LifeProtocol, payload: bytes) -> None:
            original(protocol, payload)
            then(int(payload))

        return reset

    async def test_a_reset_by_another_game_ends_with_an_error(self) -> None:
        playing = Deferred.fromCoroutine(self.play(self.glider(4), rate=5.0, resume=False))
        while "running" not in self.events:
            await self.next_turn()
        other = await self.play(self.glider(5), last=2)
        played = await playing
        self.assertIn("(1012)", played.error)
        self.assertTrue(other.verified)

    async def test_interrupted(self) -> None:
        game = self.game(self.glider(4))
        playing = Deferred.fromCoroutine(self.play_game(game))
        while self.progress.last.step < 3:
            await self.next_turn()
        game.swarm.stop(None)
        played = await playing
        self.assertIsNotNone(game.swarm.stopped)
        self.assertEqual(played.error, "")
        self.assertIsNone(played.verified)
        self.assertGreaterEqual(played.compared, 3)
        self.assertRegex(played.text, r"compared \d+ generations with the oracle: no difference$")

    async def test_interrupted_before_it_has_connected(self) -> None:
        game = self.game(self.glider(4))
        game.swarm.stop(None)
        played = await self.play_game(game)
        self.assertEqual((played.error, played.text), ("", ""))
        self.assertEqual((played["steps"], played["seconds"]), (0, 0))

    async def test_a_failed_handshake(self) -> None:
        def refuse_cells(protocol: LifeProtocol, request: Any) -> None:
            original(protocol, request)
            if request.path == "/worker/":
                raise ConnectionDeny(503, "Busy")

        original = LifeProtocol.onConnect
        self.patch(LifeProtocol, "onConnect", refuse_cells)
        played = await self.play(self.glider(4), last=1)
        self.assertEqual(
            played.error,
            f"cannot connect to {self.target.url}: handshake refused: 503 Busy; the server is "
            "starting, stopping or overloaded",
        )

    def next_turn(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        return turn

    # Before a game

    async def reset(self, path: str = "") -> str:
        """Return why the server could not be reset."""
        target = Target(self.target.url + path, "127.0.0.1", self.target.port)
        try:
            await reset(reactor, target, 4, PATIENCE_S)
        except (NotOpened, CannotRun) as error:
            return str(error)
        self.fail("it was reset")

    async def test_a_refused_reset(self) -> None:
        self.patch(
            LifeProtocol,
            "reset",
            lambda protocol, payload: protocol.sendCloseFrame(
                code=1008, reasonUtf8=b"too large", isReply=False
            ),
        )
        self.assertEqual(
            await self.reset(),
            f"{self.target.url}/reset/ did not start a game: too large (1008)",
        )

    async def test_no_such_path(self) -> None:
        self.assertIn("/elsewhere/reset/: handshake refused: 404", await self.reset("/elsewhere"))
