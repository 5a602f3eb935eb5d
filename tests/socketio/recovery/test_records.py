"""Tests of cluster.socketio.recovery.records."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.socketio.recovery import records
from cluster.socketio.recovery.options import HEARTBEAT_S
from cluster.socketio.recovery.records import Record, Records, decode_record

SECONDS = 60.0

FIRST = Record("pid", "/", "sid", "a", 0, 1, "7", "epoch", [0, 0, {"r": 3}, []], "{}", False)
ENDED = FIRST._replace(change=2, has_ended=True)


class RecordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.records = Records(SECONDS, lambda: self.now)

    def expire(self) -> None:
        self.records.expire(self.records.pids())

    def test_the_newest_record_of_a_session_counts(self) -> None:
        for record in (FIRST, ENDED, FIRST):
            self.assertFalse(self.records.store(record))
        self.assertEqual(self.records.get("pid"), ENDED)
        moved = FIRST._replace(owner="b", version=1, change=1)
        for record in (moved, ENDED):
            self.records.store(record)
        self.assertEqual(self.records.get("pid"), moved)
        self.records.forget("pid")
        self.assertIsNone(self.records.get("pid"))

    def test_a_session_that_has_ended_expires(self) -> None:
        self.records.store(ENDED)
        self.now += SECONDS - 1
        self.records.store(ENDED)  # the same record, from another node
        self.records.seen("a")
        self.expire()
        self.assertEqual(self.records.get("pid"), ENDED)
        self.now += 1
        self.assertIsNone(self.records.get("pid"))
        self.assertEqual(len(self.records), 1)
        self.expire()
        self.assertEqual(len(self.records), 0)

    def test_the_sessions_of_a_silent_node_expire(self) -> None:
        self.records.store(FIRST)
        self.now += SECONDS
        self.records.seen("a")
        self.now += HEARTBEAT_S + SECONDS - 1
        self.assertTrue(self.records.is_silent("a"))
        self.expire()
        self.assertEqual(self.records.get("pid"), FIRST)
        self.now += 1
        self.expire()
        self.assertEqual(len(self.records), 0)

    def test_sessions_that_are_not_named_do_not_expire(self) -> None:
        self.records.store(ENDED)
        self.records.store(ENDED._replace(pid="other"))
        self.now += SECONDS
        self.records.expire(["pid", "unknown"])
        self.assertEqual(self.records.pids(), ("other",))

    def test_the_oldest_is_forgotten(self) -> None:
        self.patch(records, "MAX_RECORDS", 2)
        self.records.store(FIRST)
        self.records.store(FIRST._replace(pid="second"))
        self.assertTrue(self.records.store(FIRST._replace(pid="third")))
        self.assertEqual(self.records.pids(), ("second", "third"))

    def test_text(self) -> None:
        self.assertEqual(decode_record(ENDED.encode()), ENDED)
        for text in (b"", b"[]", b"\xff", FIRST._replace(membership=[0]).encode()):
            with self.assertRaises(WireError):
                decode_record(text)
