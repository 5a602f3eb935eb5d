"""The counts of all nodes: dead nodes, missing workers, and for how long a game waits for them."""

from twisted.trial.unittest import SynchronousTestCase

from django_project.gameoflife.counts import RESUME_TIMEOUT_S, Counts


class CountsTests(SynchronousTestCase):
    def test_the_counts_of_a_node_that_is_gone_vanish(self) -> None:
        counts = Counts(4)
        counts.take("a", 2, 2)
        counts.take("b", 2, 1)
        self.assertEqual((counts.connected, counts.subscribed, counts.missing), (4, 3, 0))
        self.assertTrue(counts.forget("b"))
        self.assertFalse(counts.forget("b"))
        self.assertEqual((counts.connected, counts.missing, counts.lost), (2, 2, {"b": 2}))
        counts.take("a", 3, 3)
        self.assertEqual(counts.lost, {"b": 2})
        counts.take("c", 1, 1)
        self.assertEqual((counts.lost, counts.missing), ({}, 0))

    def test_nodes_that_are_not_named_are_forgotten(self) -> None:
        counts = Counts(4)
        counts.take("a", 2, 2)
        counts.take("b", 0, 0)
        self.assertFalse(counts.keep({"a"}))
        self.assertEqual(counts.lost, {})
        self.assertTrue(counts.keep(()))
        self.assertEqual(counts.lost, {"a": 2})

    def test_missing_workers_are_overdue_after_a_time(self) -> None:
        counts = Counts(4)
        counts.take("a", 4, 4)
        self.assertEqual(counts.overdue(100.0), 0)
        counts.take("a", 1, 1)
        self.assertEqual(counts.overdue(200.0), 0)
        self.assertEqual(counts.overdue(200.0 + RESUME_TIMEOUT_S - 0.1), 0)
        self.assertEqual(counts.overdue(200.0 + RESUME_TIMEOUT_S), 3)
        counts.take("a", 4, 4)
        self.assertEqual(counts.overdue(300.0), 0)
        counts.take("a", 3, 3)
        self.assertEqual(counts.overdue(400.0), 0)
