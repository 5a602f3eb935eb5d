"""Tests of cluster.supervisor.status.history."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.status.history import SECONDS, ClusterHistory

increases = st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=SECONDS)


def node(**counts: Any) -> dict[str, Any]:
    return {"connections": 1, **counts}


class ClusterHistoryTests(SynchronousTestCase):
    def test_rates(self) -> None:
        history = ClusterHistory()
        self.assertEqual(0.0, history.rate("messages_sent"))
        for second in range(20):
            history.add(
                float(second),
                {
                    "node0": node(messages_sent=100 * second),
                    "node1": node(messages_sent=20 * second),
                    "node2": None,
                },
            )
        self.assertEqual(120.0, history.rate("messages_sent"))
        self.assertEqual(20.0, history.rate_of("node1", "messages_sent"))
        self.assertEqual(0.0, history.rate_of("node2", "messages_sent"))
        self.assertEqual([2] * 3, history.series("connections", 3))
        self.assertEqual([120] * 3, history.series("messages_sent", 3))
        self.assertEqual(20, len(history.series("messages_sent", 500)))

    def test_losses_of_the_last_minutes(self) -> None:
        history = ClusterHistory()
        for second, count in ((0, 5), (100, 7), (350, 10)):
            statistics = {"node0": node(messages_dropped={"slow_consumer": count}, bus_gaps=count)}
            history.add(float(second), statistics)
        self.assertEqual({"slow_consumer": 5}, history.lost("messages_dropped", 360.0))
        self.assertEqual(5, history.increase("bus_gaps", 360.0))
        self.assertEqual({}, history.lost("messages_dropped", 10_000.0))
        self.assertEqual({}, history.lost("handshakes_refused", 360.0))

    def test_a_process_that_is_forgotten(self) -> None:
        history = ClusterHistory()
        for second in range(3):
            history.add(float(second), {"node0": node(messages_sent=second)})
        history.forget("node0")
        self.assertEqual(0.0, history.rate_of("node0", "messages_sent"))
        history.add(3.0, {"node0": node(messages_sent=9)})
        self.assertEqual(11, history.increase("messages_sent", 3.0))

    @given(increases)
    def test_no_message_is_counted_twice_or_left_out(self, seconds: list[tuple[int, bool]]) -> None:
        """Even if the process is replaced, and its counts start at 0 again."""
        history, count, total = ClusterHistory(), 0, 0
        for second, (increase, is_replaced) in enumerate(seconds):
            if is_replaced:
                history.forget("node0")
                count = 0
            count += increase
            total += increase
            history.add(float(second), {"node0": node(messages_received=count)})
        self.assertEqual(total, history.increase("messages_received", len(seconds)))
