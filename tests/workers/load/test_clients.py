"""All kinds of clients against a small server that behaves, or does not."""

from collections.abc import Coroutine
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.workers.patience import PATIENCE_S, be_patient
from workers.cli.run import probe
from workers.connection.failure_reasons import why_closed, why_not_opened
from workers.connection.target import Target
from workers.load import echo_clients
from workers.load.broadcast_clients import BroadcastPlan
from workers.load.echo_clients import EchoPlan
from workers.load.echo_command import peak_reached
from workers.processes import shard
from workers.processes.client import Plan
from workers.processes.shard_process import plan_as_json, plan_from_json
from workers.processes.swarm import Report, Stopped, Swarm, added, counted

reactor: Any = _reactor


class Peer(WebSocketServerProtocol):
    """The server's end of a connection; tests patch its methods."""

    said = 0

    def onConnect(self, request: Any) -> None:
        self.path = request.path
        self.publishes = "publisher" in request.params.get("role", ())

    def onOpen(self) -> None:
        self.factory.peers.add(self)
        if self.path == "/talk/":
            self.factory.talkers.append(self)
            if len(self.factory.talkers) >= self.factory.together:
                self.factory.greet()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.path == "/talk/":
            self.reply(payload)
        elif self.publishes:
            self.factory.publish(payload)

    def reply(self, payload: bytes) -> None:
        self.said += 1
        self.sendMessage(b"%d. %s" % (self.said, payload))
        if self.said == 3:
            self.sendMessage(b"Goodbye!")
            self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.factory.peers.discard(self)
        if not self.factory.peers and not self.factory.emptied.called:
            self.factory.emptied.callback(None)


class Server(WebSocketServerFactory):
    protocol = Peer
    noisy = False

    def __init__(self) -> None:
        super().__init__(reactor=reactor)
        self.peers: set[Peer] = set()
        self.emptied: Deferred[None] = Deferred()
        self.talkers: list[Peer] = []
        self.together = 1
        """How many must be there before the first conversation begins."""

    def greet(self) -> None:
        talkers, self.talkers, self.together = self.talkers, [], 1
        for talker in talkers:
            talker.sendMessage(b"Hello!")

    def publish(self, payload: bytes) -> None:
        for peer in self.peers:
            if not peer.publishes:
                peer.sendMessage(payload)


class LoadTestCase(TestCase):
    timeout = 300

    def setUp(self) -> None:
        # Not in a process that does other things as well.
        self.patch(shard, "keep_garbage_collection_short", lambda: None)
        self.server = Server()
        be_patient(self, self.server)
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.close_server)
        number = self.port.getHost().port
        self.target = Target(f"ws://127.0.0.1:{number}", "127.0.0.1", number)

    def close_server(self) -> Any:
        stopped = self.port.stopListening()
        for peer in list(self.server.peers):
            peer.transport.abortConnection()
        return stopped

    def common(self, path: str, clients: int = 5) -> dict[str, Any]:
        return {
            "clients": clients,
            "targets": (self.target,),
            "path": path,
            "timeout": float(PATIENCE_S),
        }

    async def go(
        self, load: Swarm, steps: Coroutine[Any, Any, None]
    ) -> tuple[list[Report], Stopped | None]:
        stopped = None
        load.start()
        try:
            await steps
        except Stopped as error:
            stopped = error
        return await load.end(), stopped


class EchoTests(LoadTestCase):
    async def echo(self, clients: int = 5, delay: float = 0.1, **further: Any) -> list[Report]:
        plan = EchoPlan(**{**self.common("/talk/", clients), **further}, delay=delay)
        load = Swarm(reactor, "echo", plan)

        async def steps() -> None:
            await load.all("done")

        reports, stopped = await self.go(load, steps())
        self.assertIsNone(stopped)
        return reports

    async def test_right(self) -> None:
        self.server.together = 5
        reports = await self.echo()
        tally = counted(reports, "tally")
        self.assertEqual((tally["done"], tally["failed"], tally["open"]), (5, 0, 0))
        self.assertEqual(counted(reports, "failures"), {})
        self.assertTrue(peak_reached(reports))
        self.assertEqual(reports[0]["most"], 5)
        self.assertEqual(len(added(reports, "reply")), 15)
        self.assertEqual(len(added(reports, "connect")), 5)

    async def test_in_child_processes(self) -> None:
        self.server.together = 5  # however much later one of the processes begins
        reports = await self.echo(clients=5, delay=0.5, shards=2)
        self.assertEqual(len(reports), 2)
        self.assertEqual(counted(reports, "tally")["done"], 5)
        self.assertTrue(peak_reached(reports))
        self.assertEqual(len(added(reports, "reply")), 15)

    async def test_wrong_words(self) -> None:
        self.patch(Peer, "reply", lambda peer, payload: peer.sendMessage(b"1. Ham?"))
        reports = await self.echo()
        self.assertEqual(
            counted(reports, "failures"),
            {"wrong transcript: expected '1. Spam?', got '1. Ham?'": 5},
        )
        self.assertEqual(counted(reports, "tally")["failed"], 5)
        self.assertEqual(counted(reports, "tally")["open"], 0)

    async def test_closed_early(self) -> None:
        self.patch(Peer, "reply", lambda peer, payload: peer.sendClose(3000, "no more"))
        reports = await self.echo()
        self.assertEqual(counted(reports, "failures"), {"closed by the server: 3000 no more": 5})

    async def test_lost(self) -> None:
        self.patch(Peer, "reply", lambda peer, payload: peer.transport.abortConnection())
        reports = await self.echo()
        self.assertEqual(counted(reports, "failures"), {"connection lost (1006)": 5})

    async def test_silent(self) -> None:
        asked: list[bytes] = []
        self.patch(Peer, "reply", lambda peer, payload: asked.append(payload))
        self.patch(echo_clients, "LOOK_EVERY", 0.05)
        # Once all have asked, the time is over.
        patience = PATIENCE_S + 1
        self.patch(
            echo_clients, "monotonic", lambda: shard.monotonic() + (len(asked) == 5) * patience
        )
        reports = await self.echo()
        self.assertEqual(counted(reports, "failures"), {"no reply in time": 5})

    async def test_refused_by_the_server(self) -> None:
        def refuse(peer: Peer, request: Any) -> None:
            raise ConnectionDeny(403, "not you")

        self.patch(Peer, "onConnect", refuse)
        reports = await self.echo()
        self.assertEqual(counted(reports, "failures"), {"handshake refused: 403 not you": 5})
        self.assertFalse(peak_reached(reports))

    async def test_nobody_there(self) -> None:
        await self.port.stopListening()
        reports = await self.echo()
        self.assertEqual(counted(reports, "failures"), {"connection refused": 5})

    async def test_a_peak_missed(self) -> None:
        self.server.together = 4
        original = Peer.onConnect
        first: list[Peer] = []

        def slow(peer: Peer, request: Any) -> Any:
            original(peer, request)
            first.append(peer)
            # The last comes in when the others have gone.
            return self.server.emptied if len(first) == 5 else None

        self.patch(Peer, "onConnect", slow)
        reports = await self.echo(delay=0.05)
        self.assertEqual(counted(reports, "tally")["done"], 5)
        self.assertFalse(peak_reached(reports))
        self.assertEqual(reports[0]["most"], 4)


class IdleTests(LoadTestCase):
    async def test_held(self) -> None:
        load = Swarm(reactor, "idle", Plan(**self.common("/")))

        async def steps() -> None:
            await load.all("connected")
            await load.pause(0.01)
            self.assertEqual(len(self.server.peers), 5)

        reports, stopped = await self.go(load, steps())
        self.assertIsNone(stopped)
        self.assertEqual(counted(reports, "tally")["opened"], 5)
        self.assertEqual(counted(reports, "failures"), {})

    async def test_one_lost(self) -> None:
        load = Swarm(reactor, "idle", Plan(**self.common("/")))

        async def steps() -> None:
            await load.all("connected")
            peer = next(iter(self.server.peers))
            peer.transport.abortConnection()
            while not load.tally["failed"]:
                await load.pause(0.01)

        reports, _ = await self.go(load, steps())
        self.assertEqual(counted(reports, "failures"), {"connection lost (1006)": 1})

    async def test_stopped(self) -> None:
        load = Swarm(reactor, "idle", Plan(**self.common("/")))

        async def steps() -> None:
            await load.all("connected")
            reactor.callLater(0, load.stop, None)
            await load.pause(1000)

        reports, stopped = await self.go(load, steps())
        assert stopped is not None
        self.assertIsNone(stopped.why)
        self.assertEqual(counted(reports, "tally")["opened"], 5)


class StormTests(LoadTestCase):
    async def storm(self, within: float = PATIENCE_S, **drop: float) -> tuple[bool, list[Report]]:
        load = Swarm(reactor, "storm", Plan(**self.common("/")))
        back = False

        async def steps() -> None:
            nonlocal back
            await load.all("connected")
            load.do("drop", **{"jitter": 0.0, **drop})
            back = bool(await load.all("back", within))

        reports, stopped = await self.go(load, steps())
        self.assertIsNone(stopped)
        return back, reports

    async def test_all_back(self) -> None:
        for jitter in (0.0, 0.1):
            back, reports = await self.storm(jitter=jitter)
            self.assertTrue(back)
            self.assertEqual(counted(reports, "tally")["opened"], 10)
            self.assertEqual(counted(reports, "failures"), {})
            for name in ("first", "connect", "back"):
                self.assertEqual(len(added(reports, name)), 5, name)

    async def test_ended_before_the_storm(self) -> None:
        load = Swarm(reactor, "storm", Plan(**self.common("/")))

        async def steps() -> None:
            await load.all("connected")

        reports, _ = await self.go(load, steps())
        sizes = [len(added(reports, name)) for name in ("first", "connect", "back")]
        self.assertEqual(sizes, [5, 0, 0])

    async def test_again_when_refused(self) -> None:
        self.patch(shard, "MOST_REASONS", 1)
        original = Peer.onConnect
        came: list[Peer] = []

        def refuse_twice(peer: Peer, request: Any) -> None:
            came.append(peer)
            if len(came) in (6, 7):
                raise ConnectionDeny(503, "full")
            original(peer, request)

        self.patch(Peer, "onConnect", refuse_twice)
        back, reports = await self.storm()
        self.assertTrue(back)
        self.assertEqual(counted(reports, "failures"), {"handshake refused: 503 full": 2})
        self.assertEqual(counted(reports, "tally")["again"], 2)
        self.assertEqual(counted(reports, "tally")["failed"], 0)

    async def test_not_in_time(self) -> None:
        original = Peer.onConnect
        came: list[Peer] = []

        def refuse_later(peer: Peer, request: Any) -> None:
            came.append(peer)
            if len(came) > 5:
                raise ConnectionDeny(503, "full")
            original(peer, request)

        self.patch(Peer, "onConnect", refuse_later)
        back, reports = await self.storm(within=0.2)
        self.assertFalse(back)
        self.assertEqual(counted(reports, "tally")["open"], 0)


class BroadcastTests(LoadTestCase):
    def plan(self, **further: Any) -> BroadcastPlan:
        values = {**self.common("/all/?role=subscriber", 7), "publishers": 2, **further}
        return BroadcastPlan(
            **values, publisher_path="/all/?role=publisher", rate=1000.0, messages=21
        )

    async def broadcast(
        self, plan: BroadcastPlan, delivered: int = 105
    ) -> tuple[list[Report], bool]:
        """What is reported once so many are delivered, and whether that was all."""
        load = Swarm(reactor, "broadcast", plan)
        done = False

        async def steps() -> None:
            nonlocal done
            await load.all("connected")
            load.do("call")
            await load.all("called")
            load.do("go", at=shard.monotonic())
            await load.all("published")
            while load.tally["delivered"] < delivered:
                await load.pause(0.01)
            done = bool(await load.all("done", 0.5))

        reports, stopped = await self.go(load, steps())
        self.assertIsNone(stopped)
        return reports, done

    def sums(self, reports: list[Report]) -> list[int]:
        tally = counted(reports, "tally")
        rest = [sum(r[name] for r in reports) for name in ("duplicates", "out_of_order")]
        return [tally["published"], tally["delivered"], *rest]

    async def test_all_well(self) -> None:
        reports, done = await self.broadcast(self.plan())
        self.assertTrue(done)
        self.assertEqual(self.sums(reports), [21, 105, 0, 0])
        self.assertEqual(len(added(reports, "delivery")), 105)

    async def test_in_child_processes(self) -> None:
        reports, done = await self.broadcast(self.plan(shards=2))
        self.assertTrue(done)
        self.assertEqual(self.sums(reports), [21, 105, 0, 0])

    async def test_twice_lost_and_late(self) -> None:
        original = Server.publish
        held: list[bytes] = []

        def publish(server: Server, payload: bytes) -> None:
            words = payload.split()
            if words[:2] == [b"0", b"2"]:
                held.append(payload)
                return
            if words[:2] == [b"1", b"3"]:
                return
            original(server, payload)
            if words[:2] == [b"0", b"5"]:
                original(server, payload)
                original(server, held.pop())

        self.patch(Server, "publish", publish)
        reports, done = await self.broadcast(self.plan(), delivered=100)
        self.assertFalse(done)
        self.assertEqual(self.sums(reports), [21, 100, 5, 5])

    async def test_rubbish(self) -> None:
        original = Server.publish

        def publish(server: Server, payload: bytes) -> None:
            if b" 3 " in payload:
                original(server, b"rubbish")
                original(server, b"17 0 0")
            original(server, payload)

        self.patch(Server, "publish", publish)
        reports, done = await self.broadcast(self.plan())
        self.assertTrue(done)
        self.assertEqual(
            counted(reports, "failures"),
            {
                "not a message of this broadcast: b'rubbish'": 10,
                "not a message of this broadcast: b'17 0 0'": 10,
            },
        )


class RunTests(LoadTestCase):
    def test_plans_travel(self) -> None:
        plan = EchoPlan(**self.common("/talk/"), delay=1.5, ramp=100.0)
        self.assertEqual(plan_from_json("echo", plan_as_json(plan)), plan)

    async def test_probe(self) -> None:
        self.assertIsNone(await probe(reactor, self.target, "/", 5))

        def refuse(peer: Peer, request: Any) -> None:
            raise ConnectionDeny(404, "Not Found")

        self.patch(Peer, "onConnect", refuse)
        why = await probe(reactor, self.target, "/", 5)
        self.assertEqual(why, "handshake refused: 404 Not Found")
        await self.port.stopListening()
        self.assertEqual(await probe(reactor, self.target, "/", 5), "connection refused")

    async def test_a_process_that_dies(self) -> None:
        load = Swarm(reactor, "idle", Plan(**self.common("/"), shards=2))

        async def steps() -> None:
            await load.all("connected")
            shard: Any = load._shards[0]
            shard._child.transport.signalProcess("KILL")
            await load.pause(1000)

        reports, stopped = await self.go(load, steps())
        assert stopped is not None
        self.assertIn("a process of the swarm ended early", str(stopped.why))
        self.assertEqual(len(reports), 1)

    async def test_told_before_anybody_waits(self) -> None:
        load = Swarm(reactor, "idle", Plan(**self.common("/")))

        async def steps() -> None:
            while not load.tally["opened"]:
                await load.pause(0.01)
            both = gatherResults([load.all("connected")])
            await both

        _, stopped = await self.go(load, steps())
        self.assertIsNone(stopped)

    def test_causes(self) -> None:
        self.assertEqual(why_closed(1006, "whatever"), "connection lost (1006)")
        self.assertEqual(why_closed(1012, ""), "closed by the server: 1012")
        self.assertEqual(why_not_opened(""), "connection lost during the handshake")
        self.assertEqual(why_not_opened("odd"), "handshake failed: odd")
