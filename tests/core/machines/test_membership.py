"""Who is ready, and who sends snapshots."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.membership import Membership
from tests import profiles

assert profiles

MEMBER = st.sampled_from(["a", "b", "c", "d"])


class MembershipTests(SynchronousTestCase):
    """Membership."""

    def test_the_oldest_member_begins(self) -> None:
        membership = Membership(["a", "b"])
        self.assertEqual((membership.beginner, membership.sender), ("a", ""))
        membership.leave("a")
        self.assertEqual((membership.beginner, membership.sender), ("b", ""))
        membership.leave("b")
        self.assertEqual((membership.beginner, membership.sender), ("", ""))

    def test_the_oldest_ready_member_sends_snapshots(self) -> None:
        membership = Membership(["a", "b", "c"])
        for member in ("c", "b"):
            membership.set_ready(member)
        self.assertEqual((membership.beginner, membership.sender), ("", "b"))
        self.assertEqual(membership.waiting, ("a",))
        membership.leave("b")
        self.assertEqual(membership.sender, "c")

    def test_unknown_members_are_ignored(self) -> None:
        membership = Membership(["a"])
        membership.leave("x")
        membership.set_ready("x")
        self.assertEqual(membership.members, ("a",))
        self.assertFalse(membership.is_ready("x"))
        self.assertTrue("a" in membership and "x" not in membership)

    def test_the_rules_hold_in_any_sequence(self) -> None:
        run_state_machine_as_test(MembershipMachine)


class MembershipMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.membership = Membership()
        self.joined: list[str] = []
        self.ready: set[str] = set()

    @rule(member=MEMBER)
    def join(self, member: str) -> None:
        if member not in self.joined:
            self.joined.append(member)
            self.membership.join(member)

    @rule(member=MEMBER)
    def leave(self, member: str) -> None:
        self.membership.leave(member)
        self.ready.discard(member)
        if member in self.joined:
            self.joined.remove(member)

    @rule(member=MEMBER)
    def become_ready(self, member: str) -> None:
        self.membership.set_ready(member)
        if member in self.joined:
            self.ready.add(member)

    @rule()
    def snapshot(self) -> None:
        values = self.membership.snapshot()
        self.membership = Membership()
        self.membership.restore_snapshot(values)

    @invariant()
    def check(self) -> None:
        membership, joined, ready = self.membership, self.joined, self.ready
        assert membership.members == tuple(joined)
        assert membership.waiting == tuple(each for each in joined if each not in ready)
        assert membership.sender == next((each for each in joined if each in ready), "")
        assert membership.beginner == ("" if ready or not joined else joined[0])
        assert all(membership.is_ready(each) == (each in ready) for each in joined)
