"""Tests of cluster.supervisor.status.uplink."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.heartbeat import Statistics
from cluster.supervisor.status.uplink import UplinkEvents, degraded, uplink_of


def sample(state: str, *machines: str, reason: str = "") -> Statistics:
    uplink = {
        "machine": "a", "state": state, "reason": reason, "seconds": 12.0,
        "machines": list(machines),
    }  # fmt: skip
    return {"node0": {"ready": True}, "node1": None, "broker": {"uplink": uplink}}


class DegradedTests(SynchronousTestCase):
    def test_a_cluster_without_an_uplink_is_not_degraded(self) -> None:
        for statistics in ({}, {"broker": None}, {"broker": {"ready": True}}):
            self.assertEqual(degraded(statistics), [])
            self.assertIsNone(uplink_of(statistics))

    def test_a_joined_one_is_not_degraded(self) -> None:
        self.assertEqual(degraded(sample("joined")), [])

    def test_the_reason_is_named(self) -> None:
        for state, reason, phrase in (
            ("connecting", "", "not joined with the other machines yet"),
            ("joining", "", "joining the other machines"),
            ("interrupted", "x", "interrupted on the way to the other machines: x"),
            ("cut off", "no answer", "cut off from the other machines: no answer"),
        ):
            self.assertEqual(degraded(sample(state, reason=reason)), [phrase])


class UplinkEventsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recorded: list[tuple[str, str]] = []
        self.events = UplinkEvents(self.record)

    def record(self, kind: str, text: str, level: str = "info") -> None:
        self.assertEqual(kind, "uplink")
        self.recorded.append((level, text))

    def add(self, *samples: Statistics) -> list[tuple[str, str]]:
        """The events of these samples."""
        self.recorded.clear()
        for each in samples:
            self.events.add(each)
        return self.recorded

    def test_a_start_is_one_event(self) -> None:
        samples = ({"broker": None}, sample("connecting"), sample("joined", "c", "b"))
        self.assertEqual(self.add(*samples), [("info", "joined the other machines: b, c")])

    def test_the_first_machine(self) -> None:
        text = "joined the other machines: no other machine is there"
        self.assertEqual(self.add(sample("joined")), [("info", text)])

    def test_each_change_is_an_event_once(self) -> None:
        self.add(sample("joined", "b"))
        self.assertEqual(self.add(sample("joined", "b"), sample("joined", "b")), [])
        changed = [("info", "machine c has joined"), ("warn", "machine b is gone")]
        self.assertEqual(self.add(sample("joined", "c")), changed)
        cut = sample("cut off", reason="no answer")
        lost = [("warn", "cut off from the other machines: no answer")]
        self.assertEqual(self.add(cut, {"broker": None}, cut), lost)
        joined = [("info", "joined the other machines: b")]
        self.assertEqual(self.add(sample("joined", "b")), joined)

    def test_a_cluster_that_starts_without_the_engine(self) -> None:
        cut = sample("cut off", reason="refused")
        self.assertEqual(self.add(cut), [("warn", "cut off from the other machines: refused")])
