"""Barrier: arrivals of parties -> released."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.barrier import EVERY_NODE, Barrier

NODES = st.sampled_from(["a", "b", "c"])
TOKENS = st.lists(st.integers(0, 4), max_size=3)


class BarrierTests(SynchronousTestCase):
    """A barrier that waits for a number of parties."""

    def setUp(self) -> None:
        self.barrier = Barrier(3)

    def assertWaiting(self, count: int) -> None:
        self.assertFalse(self.barrier.ready(["a", "b"]))
        self.assertEqual(self.barrier.count, count)

    def test_a_new_barrier_has_no_parties(self) -> None:
        self.assertWaiting(0)
        self.assertTrue(self.barrier.empty)

    def test_a_negative_number_of_parties_is_refused(self) -> None:
        self.assertRaises(ValueError, Barrier, -1)

    def test_the_last_arrival_makes_the_barrier_ready(self) -> None:
        self.assertEqual(self.barrier.arrive("b", [7, 4]), [])
        self.assertWaiting(2)
        self.assertEqual(self.barrier.arrive("a", [1]), [])
        self.assertTrue(self.barrier.ready(["a", "b"]))
        self.assertEqual(self.barrier.release(), {"b": (4, 7), "a": (1,)})

    def test_arriving_twice_counts_once(self) -> None:
        self.barrier.arrive("a", [1, 2])
        self.assertEqual(self.barrier.arrive("a", [1, 2, 1]), [])
        self.assertWaiting(2)

    def test_the_same_token_on_another_node_is_another_party(self) -> None:
        self.barrier.arrive("a", [1])
        self.barrier.arrive("b", [1])
        self.assertWaiting(2)

    def test_more_than_expected_are_refused(self) -> None:
        self.assertEqual(self.barrier.arrive("a", [1, 2, 3, 4, 5]), [4, 5])
        self.assertEqual(self.barrier.arrive("b", [1]), [1])
        self.assertEqual(self.barrier.release(), {"a": (1, 2, 3)})

    def test_a_released_barrier_stays_released(self) -> None:
        self.barrier.arrive("a", [1, 2, 3])
        self.barrier.release()
        self.assertFalse(self.barrier.ready(["a"]))
        self.barrier.withdraw("a", [3])
        self.assertEqual(self.barrier.arrive("b", [1]), [1])
        self.assertEqual(self.barrier.arrive("a", [1, 2]), [])
        self.assertFalse(self.barrier.ready(["a"]))

    def test_a_party_may_withdraw(self) -> None:
        self.barrier.arrive("a", [1, 2])
        self.barrier.withdraw("a", [2, 9])
        self.barrier.withdraw("b", [1])
        self.assertWaiting(1)
        self.barrier.withdraw("a", [1])
        self.assertTrue(self.barrier.empty)

    def test_a_node_that_is_gone_loses_its_parties(self) -> None:
        self.barrier.arrive("a", [1, 2])
        self.barrier.arrive("b", [1])
        self.barrier.forget("a")
        self.barrier.forget("a")
        self.assertWaiting(1)
        self.barrier.arrive("b", [2, 3])
        self.assertEqual(self.barrier.release(), {"b": (1, 2, 3)})

    def test_parties_of_a_restored_barrier_are_released_as_they_arrive(self) -> None:
        """One node received the release; that of another was lost with the broker."""
        self.barrier.arrive("b", [1])
        self.assertWaiting(1)
        self.barrier.rejoin("a", [1])
        self.assertTrue(self.barrier.ready(["a", "b"]))
        self.assertEqual(self.barrier.release(), {"b": (1,), "a": (1,)})
        self.assertEqual(self.barrier.arrive("b", [2, 3]), [3])
        self.assertTrue(self.barrier.ready(["a", "b"]))
        self.assertEqual(self.barrier.release(), {"b": (1, 2), "a": (1,)})

    def test_rejoining_without_parties_changes_nothing(self) -> None:
        self.barrier.rejoin("a", [])
        self.assertTrue(self.barrier.empty)
        self.assertWaiting(0)

    def test_invariants_hold_after_any_events(self) -> None:
        run_state_machine_as_test(BarrierMachine)


class EveryNodeTests(SynchronousTestCase):
    """A barrier that waits for one party of each live node."""

    def setUp(self) -> None:
        self.barrier = Barrier(EVERY_NODE)

    def test_each_node_may_have_any_number_of_parties(self) -> None:
        self.barrier.arrive("a", [1, 2, 3])
        self.assertFalse(self.barrier.ready(["a", "b"]))
        self.barrier.arrive("b", [1])
        self.assertTrue(self.barrier.ready(["a", "b"]))

    def test_the_barrier_does_not_wait_for_dead_nodes(self) -> None:
        self.barrier.arrive("a", [1])
        self.assertFalse(self.barrier.ready(["a", "b"]))
        self.assertTrue(self.barrier.ready(["a"]))

    def test_without_live_nodes_the_barrier_is_never_ready(self) -> None:
        self.assertFalse(self.barrier.ready([]))


class BarrierMachine(RuleBasedStateMachine):
    """Compares a barrier, released whenever it is ready, with a set of its parties."""

    live = ("a", "b")

    @initialize(expected=st.integers(0, 5))
    def begin(self, expected: int) -> None:
        self.expected = expected
        self.barrier = Barrier(expected)
        self.parties: set[tuple[str, int]] = set()
        self.released: set[tuple[str, int]] = set()
        self.restored = False

    @rule(node=NODES, tokens=TOKENS)
    def arrive(self, node: str, tokens: list[int]) -> None:
        refused = {(node, token) for token in self.barrier.arrive(node, tokens)}
        came = {(node, token) for token in tokens} - self.parties
        assert refused <= came
        if self.released and not self.restored:
            assert refused == came
        elif not self.expected:
            assert not refused
        else:
            assert len(came - refused) == min(len(came), max(0, self.room()))
        self.parties |= came - refused
        self.release_if_ready()

    @rule(node=NODES, tokens=TOKENS)
    def rejoin(self, node: str, tokens: list[int]) -> None:
        self.barrier.rejoin(node, tokens)
        self.parties |= {(node, token) for token in tokens}
        self.restored = self.restored or bool(tokens)
        self.release_if_ready()

    @rule(node=NODES, tokens=TOKENS)
    def withdraw(self, node: str, tokens: list[int]) -> None:
        self.barrier.withdraw(node, tokens)
        self.parties -= {(node, token) for token in tokens}
        assert self.released or not self.barrier.ready(self.live)

    @rule(node=NODES)
    def die(self, node: str) -> None:
        self.barrier.forget(node)
        self.parties = {party for party in self.parties if party[0] != node}

    def room(self) -> int:
        return self.expected - len(self.parties)

    def complete(self) -> bool:
        if self.expected:
            return self.room() <= 0
        return {"a", "b"} <= {node for node, _ in self.parties}

    def release_if_ready(self) -> None:
        ready = self.barrier.ready(self.live)
        assert ready == (self.restored or (self.complete() and not self.released))
        if ready:
            tokens_by_node = self.barrier.release()
            released = {
                (node, token) for node, tokens in tokens_by_node.items() for token in tokens
            }
            assert released == self.parties
            if self.expected and not self.restored:
                assert len(released) == self.expected
            self.released |= released

    @invariant()
    def agrees(self) -> None:
        assert self.barrier.count == len(self.parties)
        assert self.barrier.empty == (not self.parties)
        assert self.barrier.released == bool(self.released) or self.restored
