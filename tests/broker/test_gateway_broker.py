"""The broker of one of several machines, with a gateway and an uplink that record."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.broker.gateway_broker import GatewayBroker
from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange, Outgoing
from cluster.core.machines.engine import Batch, Deliveries
from cluster.core.wire.external_publisher import Closing, encode
from tests.broker.test_broker import FakeLink
from tests.pubsub.links import LinksTestCase, reactor


class FakeGateway(Exchange):
    """The state of one machine, and what it received for the others."""

    def __init__(self) -> None:
        super().__init__("epoch")
        self.remote: set[str] = {"node0.1@b"}
        self.batches: list[tuple[str, str, bytes]] = []
        self.answers: list[tuple[str, bytes]] = []
        self.notices: Outgoing = []

    def take_notices(self) -> Outgoing:
        notices, self.notices = self.notices, []
        return notices

    def send_batch(self, origin: str, destination: str, data: bytes) -> bool:
        if destination in self.remote:
            self.batches.append((origin, destination, data))
        return destination in self.remote

    def answer(self, request_id: str, data: bytes) -> None:
        self.answers.append((request_id, data))


class FakeUplink:
    """Counts the calls."""

    def __init__(self, deliver: Callable[[Any], None]) -> None:
        self.deliver = deliver
        self.calls: Counter[str] = Counter()
        self.stopped: Deferred[None] = Deferred()
        self.statistics: dict[str, Any] = {
            "state": "joined",
            "reason": "",
            "since": 90.0,
            "machine": "a",
            "member": "a~00000001",
            "generation": "0",
            "machines": ("b",),
            "turns": 3,
            "bytes": 400,
            "round_trip_ms": 2.0,
            "queued_bytes": 5,
            "dropped": {"machine_gone": 2},
            "reconnects": 6,
            "generation_changes": 7,
        }

    def startService(self) -> None:
        self.calls["start"] += 1

    def stopService(self) -> "Deferred[None]":
        self.calls["stop"] += 1
        return self.stopped

    def wake(self) -> None:
        self.calls["wake"] += 1

    def stats(self) -> dict[str, Any]:
        return self.statistics


def make_broker(address: str, clock: Any) -> tuple[GatewayBroker, FakeGateway, FakeUplink]:
    """A broker of machine a."""
    gateway: Any = FakeGateway()
    uplinks: list[FakeUplink] = []

    def make_uplink(deliver: Callable[[Any], None]) -> FakeUplink:
        uplinks.append(FakeUplink(deliver))
        return uplinks[0]

    broker = GatewayBroker(address, clock, gateway, make_uplink, unix_time=lambda: 100.0)
    return broker, gateway, uplinks[0]


class GatewayBrokerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker, self.gateway, self.uplink = make_broker("ipc:///nowhere", Clock())
        self.link = FakeLink()
        self.broker._queues.link = self.link  # type: ignore[assignment]
        self.broker.running = True
        self.join("x@a", "y@a")

    def join(self, *nodes: str) -> None:
        for node in nodes:
            self.receive(node, wire.Hello())
        self.sent()

    def receive(self, node: str, message: wire.Message) -> None:
        self.broker._received([node.encode(), wire.encode(message)])

    def sent(self) -> list[tuple[str, Any]]:
        """What the nodes have received since the last call."""
        sent, self.link.sent = self.link.sent, []
        return [(node.decode(), message) for node, message in sent]

    def wakes(self) -> int:
        return self.uplink.calls.pop("wake", 0)

    def test_a_batch_to_a_node_of_another_machine(self) -> None:
        self.wakes()
        self.broker._received([b"x@a", wire.BATCH + b"node0.1@b", b"data"])
        self.assertEqual(self.gateway.batches, [("x@a", "node0.1@b", b"data")])
        self.assertEqual((self.sent(), self.wakes()), ([], 1))
        statistics = self.broker.stats()
        self.assertEqual((statistics["batches_forwarded"], statistics["bytes_forwarded"]), (1, 4))

    def test_a_batch_that_makes_a_machine_congested(self) -> None:
        congested = wire.Congested("node0.1@b")
        self.gateway.notices = [("x@a", congested), ("y@a", congested)]
        for _ in range(2):
            self.broker._received([b"x@a", wire.BATCH + b"node0.1@b", b"data"])
        self.assertEqual(self.sent(), [("x@a", congested), ("y@a", congested)])

    def test_a_batch_between_nodes_of_this_machine(self) -> None:
        self.broker._received([b"x@a", wire.BATCH + b"y@a", b"data"])
        self.assertEqual(self.sent(), [("y@a", b"data")])
        self.assertEqual(self.gateway.batches, [])

    def test_batches_to_unknown_nodes_and_from_unknown_ones_are_dropped(self) -> None:
        for destination in (b"node0.2@b", b"\xff\xfe", b"", b"gone@a"):
            self.broker._received([b"x@a", wire.BATCH + destination, b"data"])
        self.broker._received([b"node0.1@b", wire.BATCH + b"y@a", b"data"])
        self.assertEqual(self.gateway.batches, [])
        dropped = self.broker.stats()["messages_dropped"]
        self.assertEqual((dropped["node_gone"], dropped["unknown_sender"]), (4, 1))

    def test_each_message_wakes_the_uplink(self) -> None:
        self.wakes()
        self.receive("x@a", wire.NodeSubscriptions("x@a", (b"t",)))
        self.assertEqual(self.wakes(), 1)
        self.link.gone.add(b"y@a")
        self.receive("x@a", wire.NodeSubscriptions("x@a", (b"u",)))
        self.assertGreater(self.wakes(), 1)
        self.assertEqual(self.gateway.nodes, ("x@a",))

    def deliver(self, *messages: tuple[str, Any], external: Iterable[Any] = ()) -> None:
        self.uplink.deliver(Deliveries(list(messages), list(external)))

    def test_what_the_uplink_delivers_stays_in_order(self) -> None:
        joined, subscriptions = wire.Joined("n@b"), wire.NodeSubscriptions("n@b", (b"t",))
        self.deliver(
            ("x@a", joined),
            ("y@a", joined),
            ("x@a", Batch("n@b", b"1")),
            ("x@a", subscriptions),
            ("x@a", Batch("n@b", b"2")),
        )
        self.assertEqual(
            self.sent(),
            [
                ("x@a", joined),
                ("y@a", joined),
                ("x@a", b"1"),
                ("x@a", subscriptions),
                ("x@a", b"2"),
            ],
        )

    def test_a_batch_names_its_origin(self) -> None:
        parts: list[list[bytes]] = []
        self.patch(self.link, "send", lambda each: (parts.append(each), True)[1])
        self.deliver(("x@a", Batch("n@b", b"1")))
        self.assertEqual(parts, [[b"x@a", wire.BATCH + b"n@b", b"1"]])

    def test_a_batch_for_a_node_that_is_gone_is_counted(self) -> None:
        self.deliver(("z@a", Batch("n@b", b"1")))
        self.assertEqual(self.sent(), [])
        self.assertEqual(self.broker.stats()["messages_dropped"]["node_gone"], 1)

    def test_messages_alone_are_delivered(self) -> None:
        self.uplink.deliver([("x@a", wire.Left("n@b"))])
        self.assertEqual(self.sent(), [("x@a", wire.Left("n@b"))])

    def test_a_node_that_is_asked_for_a_hello_is_asked_once(self) -> None:
        self.gateway.leave("x@a")
        self.deliver(("x@a", wire.UnknownNode()))
        self.assertEqual(self.sent(), [("x@a", wire.UnknownNode())])
        self.broker._received([b"x@a", wire.BATCH + b"y@a", b"data"])
        self.receive("x@a", wire.Query(b"t"))
        self.assertEqual(self.sent(), [])
        self.receive("x@a", wire.Hello())
        self.assertIsInstance(self.sent()[0][1], wire.Welcome)

    def test_external_requests_and_their_answers(self) -> None:
        self.deliver(external=[("1", b"publish"), ("2", b"publish")])
        self.deliver(external=[("4", b"publish")])
        self.assertEqual(
            self.sent(),
            [
                ("x@a", wire.ExternalRequest("1", b"publish")),
                ("y@a", wire.ExternalRequest("2", b"publish")),
                ("x@a", wire.ExternalRequest("4", b"publish")),
            ],
        )
        self.wakes()
        self.receive("y@a", wire.ExternalAnswer("2", b"done"))
        self.assertEqual((self.gateway.answers, self.wakes()), ([("2", b"done")], 1))
        for node in ("x@a", "y@a"):
            self.receive(node, wire.Goodbye())
        self.deliver(external=[("3", b"publish")])
        self.assertEqual(self.gateway.answers[-1], ("3", encode(Closing())))

    def test_statistics(self) -> None:
        self.broker._received([b"x@a", wire.BATCH + b"z@a", b"data"])
        statistics = self.broker.stats()
        self.assertEqual(
            {name: value for name, value in statistics.items() if name.startswith("uplink")},
            {
                "uplink": {
                    "machine": "a", "state": "joined", "reason": "", "seconds": 10.0,
                    "machines": ["b"],
                },
                "uplink_joined": 1,
                "uplink_machines": 1,
                "uplink_queue_bytes": 5,
                "uplink_round_trip_seconds": 0.002,
                "uplink_turns": 3,
                "uplink_bytes": 400,
                "uplink_reconnects": 6,
                "uplink_generations": 7,
            },
        )  # fmt: skip
        self.assertEqual(statistics["messages_dropped"], {"machine_gone": 2, "node_gone": 1})
        self.uplink.statistics |= {"state": "cut off", "reason": "no answer"}
        statistics = self.broker.stats()
        self.assertEqual(statistics["uplink_joined"], 0)
        self.assertTrue(statistics["uplink"]["reason"])


class LifeTests(LinksTestCase):
    def test_the_uplink_starts_with_the_broker_and_its_goodbye_is_awaited(self) -> None:
        broker, _, uplink = make_broker(f"ipc://{self.folder}/broker.ipc", reactor)
        broker.startService()
        self.assertEqual(uplink.calls, {"start": 1})
        stopped = broker.stopService()
        self.assertNoResult(stopped)
        uplink.deliver([("x@a", wire.Left("n@b"))])  # what the last turn returns
        uplink.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(uplink.calls["stop"], 1)

    def test_a_broker_that_cannot_bind_has_no_uplink(self) -> None:
        broker, _, uplink = make_broker(f"ipc://{self.folder}/no/such/folder", reactor)
        broker.startService()
        self.failureResultOf(broker.ready)
        self.successResultOf(broker.stopService())
        self.assertEqual(uplink.calls, {})
