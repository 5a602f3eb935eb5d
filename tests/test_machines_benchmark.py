"""benchmarks.machines and benchmarks.capacity."""

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import capacity, command, load, subscribers, tables
from benchmarks.machines import link
from benchmarks.machines.command import parser, runs
from benchmarks.servers import Failed
from benchmarks.subscribers import SOCKET_IO
from tests.machines.redis_server import MISSING

ENTRY, IDLE = "µs CPU an entry read", "µs CPU a second, idle"


def measured(redis: float = 10.0) -> dict[str, Any]:
    """Return the output of benchmarks.machines that capacity reads. redis: µs for an entry."""
    parts = ("publisher", "broker A", "broker B", "receiver")
    engine = {
        "50 machines, one writes 100 bytes, inboxes": 20.0,
        "50 machines, one writes 4,096 bytes, inboxes": 30.0,
        "50 machines, all write 100 bytes, inboxes": redis,
        "50 machines, all write 100 bytes, log": 1.0,
    }
    medians: dict[str, Any] = {
        "link": {
            "1, alone": dict.fromkeys(parts, 100.0),
            "1": dict.fromkeys(parts, 10.0),
        },
        "subscribing": {"topics": {"broker B": 2.0, "receiver": 2.0, "bytes, receiver": 400.0}},
        "engine": {name: {ENTRY: value, IDLE: 5000.0} for name, value in engine.items()},
        "broadcast": {"1 machine × 4 nodes, 100/s": {"µs CPU a delivery": 4.0}},
    }
    return {"parts": {name: {"medians": rows} for name, rows in medians.items()}}


class CapacityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.costs = capacity.costs_of(measured())
        self.notifications, self.rooms, self.one_topic = capacity.WORKLOADS

    def test_costs_are_in_seconds(self) -> None:
        self.assertAlmostEqual(self.costs.write, 90e-6)
        self.assertAlmostEqual(self.costs.inbox_entry, 10e-6)
        self.assertAlmostEqual(self.costs.idle, 100e-6)
        self.assertAlmostEqual(self.costs.kilobyte, 10e-6 / 3996 * 1024)

    def test_a_part_that_was_not_measured_is_named(self) -> None:
        found = measured()
        del found["parts"]["engine"]
        self.assertRaisesRegex(Failed, "'engine'", capacity.costs_of, found)

    def test_readers_are_on_as_many_machines_as_there_are(self) -> None:
        self.assertAlmostEqual(self.notifications.wanting(10), 1)
        self.assertAlmostEqual(self.one_topic.wanting(10), 10)
        self.assertTrue(9.9 < self.rooms.wanting(10) < 10)
        self.assertTrue(40 < self.rooms.wanting(200) < 49)

    def test_a_busy_redis_makes_writes_rarer(self) -> None:
        cheap = capacity.shortest_interval(self.costs, self.rooms, 50)
        dear = capacity.shortest_interval(capacity.costs_of(measured(15)), self.rooms, 50)
        self.assertTrue(capacity.SHORTEST_S < cheap < dear < capacity.LONGEST_S)
        for every in (cheap, dear):
            costs = self.costs if every == cheap else capacity.costs_of(measured(15))
            used = capacity.use(costs, self.rooms, 50, every).redis
            self.assertAlmostEqual(used, capacity.CORE, places=4)

    def test_one_topic_is_limited_by_deliveries(self) -> None:
        part, times = capacity.first_saturated(self.costs, self.one_topic, 10)
        self.assertEqual(part, "node")
        # 2,500 deliveries of 4 µs, ten times a second, are a tenth of a core.
        self.assertTrue(6 < times < 7, times)

    def test_the_subscriptions_of_all_machines_are_in_each_node(self) -> None:
        used = capacity.use(self.costs, self.notifications, 200, 0.1)
        self.assertAlmostEqual(used.node_mb, 200 * capacity.CLIENTS * 400 / 1e6)

    def test_table(self) -> None:
        found = capacity.rows(self.costs)
        self.assertEqual(len(found), len(capacity.WORKLOADS) * len(capacity.MACHINES))
        text = tables.TABLES["machines_capacity"](measured())
        self.assertIn("| rooms of 50, 200 machines", text)
        self.assertIn("saturates first", text)


class RunsTests(SynchronousTestCase):
    def test_names_are_unique_and_belong_to_a_part(self) -> None:
        selected, versions = runs(parser().parse_args(["--only", "link: "]))
        names = [run.name for run in selected]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual({run.part for run in selected}, {"link"})
        self.assertEqual(versions, {})

    def test_another_revision_is_one_more_row(self) -> None:
        options = parser().parse_args(["--only", "alone", "--before", "/srv/other"])
        self.assertEqual(runs(options)[0][-1].row, "1 machine, other")


class SocketIoTests(SynchronousTestCase):
    """The dialect of python-socketio, through a socket pair."""

    def setUp(self) -> None:
        self.server, self.client = socket.socketpair()
        self.addCleanup(self.server.close)
        self.addCleanup(self.client.close)

    def send(self, payload: bytes) -> None:
        self.server.send(bytes([0x81, len(payload)]) + payload)

    def test_messages_are_counted_and_pings_answered(self) -> None:
        found = subscribers.Subscribers([self.client], SOCKET_IO)
        self.send(b"2")
        self.send(subscribers.message(1, 0.0).join(SOCKET_IO.received))
        found.take(self.client.fileno())
        self.assertEqual(found.received, 1)
        self.assertEqual(self.server.recv(100), load.client_frame(b"3"))

    def test_the_header_is_read_alone(self) -> None:
        self.server.send(b"HTTP/1.1 101 Switching\r\n\r\n\x81\x01")
        self.assertEqual(load._header(self.client), b"HTTP/1.1 101 Switching\r\n\r\n")
        self.assertEqual(self.client.recv(100), b"\x81\x01")


class LinkTests(SynchronousTestCase):
    """The link's real processes, with a Redis."""

    skip = MISSING
    timeout = 120

    def test_subscriptions(self) -> None:
        with command.scratch_folder() as folder:
            found = link.subscriptions(200, folder)
        for part in link.PARTS:
            self.assertGreater(found[part], 0, part)
        self.assertGreater(found["µs CPU a subscription"], 0)
