"""What a client of `swarm socketio` counts as missing, with and without recovery."""

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.socketio.client import SocketIoClient
from workers.socketio.clients import SocketIoPlan, SocketIoShard

MESSAGES = 6


class Unclocked:
    """A reactor that calls nothing."""

    def callLater(self, seconds: float, call: Any, *arguments: Any) -> Any:
        return SimpleNamespace(cancel=lambda: None, active=lambda: False)

    def seconds(self) -> float:
        return 0.0


class ClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        plan = SocketIoPlan(
            clients=1,
            targets=(),
            path="/x/",
            engine_path="/x/",
            transports=("websocket",),
            messages=MESSAGES,
            reconnect=True,
        )
        self.shard = SocketIoShard(Unclocked(), plan, 0, lambda event, values: None)
        self.addCleanup(self.shard._epoll_reader._epoll.close)
        (self.client,) = self.shard._own()
        self.sent: list[bytes] = []
        self.connect(b"one")

    def connect(self, pid: bytes) -> None:
        connection: Any = SimpleNamespace(send=self.sent.append, abort=lambda: None)
        self.client.connection = connection
        self.client.is_open = True
        self.client.received([b'0{"sid":"abc"}', b'40{"sid":"abc","pid":"%s"}' % pid])
        if not self.client.transcript.is_joined:
            self.client.received([b"430[]"])

    def message(self, number: int) -> None:
        self.client.received([b'42["message","0 %d 0","offset-%d"]' % (number, number)])

    def lose(self) -> None:
        self.client.is_open = False
        self.client.closed(1006, "")

    def test_nothing_is_missing(self) -> None:
        for number in range(MESSAGES):
            self.message(number)
        self.assertEqual(self.client.missing(MESSAGES), set())

    def test_a_recovered_session_misses_nothing(self) -> None:
        self.message(0)
        self.lose()
        self.connect(b"one")
        self.assertIn(b'40{"pid":"one","offset":"offset-0"}', self.sent)
        self.assertEqual(self.shard.tally["recovered"], 1)
        self.message(3)
        self.assertEqual(self.client.missing(MESSAGES), {1, 2, 4, 5})

    def test_another_session_begins_with_its_first_message(self) -> None:
        self.message(0)
        self.lose()
        self.connect(b"two")
        self.assertEqual(self.shard.tally["unrecovered"], 1)
        self.message(3)
        self.message(5)
        self.assertEqual(self.client.missing(MESSAGES), {4})

    def test_duplicates_and_disorder(self) -> None:
        for number in (0, 2, 1, 1):
            self.message(number)
        counts = dict(self.shard.counts)
        self.assertEqual(counts, {"duplicates": 1, "out_of_order": 1})

    def test_what_a_publisher_may_not_have_sent(self) -> None:
        assert isinstance(self.client, SocketIoClient)
        self.shard._publish_one(self.client, 0)
        self.client.received([b"431000000000[]"])
        self.shard._publish_one(self.client, 1)
        self.lose()
        self.shard._publish_one(self.client, 2)
        self.assertEqual(self.shard.measurements()["uncertain"], [(0, 1), (0, 2)])
