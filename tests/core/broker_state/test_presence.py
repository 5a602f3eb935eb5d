"""Which members are on a topic."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.presence import Change, PresenceTable

NODES = st.sampled_from(["a", "b", "c"])
MEMBERSHIPS = st.tuples(st.sampled_from([b"t", b"u"]), st.sampled_from(["ada", "bob"]))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), NODES, MEMBERSHIPS),
        st.tuples(st.just("leave"), NODES, MEMBERSHIPS),
        st.tuples(st.just("replace"), NODES, st.lists(MEMBERSHIPS, max_size=3)),
        st.tuples(st.just("drop"), NODES, st.none()),
    )
)


class PresenceTests(SynchronousTestCase):
    """PresenceTable."""

    def setUp(self) -> None:
        self.table = PresenceTable()

    def test_a_member_is_on_a_topic_while_any_node_holds_it(self) -> None:
        changes = [
            self.table.join("a", (b"t", "ada")),
            self.table.join("b", (b"t", "ada")),
            self.table.join("b", (b"t", "ada")),
            self.table.leave("a", (b"t", "ada")),
            self.table.leave("a", (b"t", "ada")),
            self.table.leave("b", (b"t", "ada")),
        ]
        joined, left = Change(b"t", "ada", True), Change(b"t", "ada", False)
        self.assertEqual(changes, [joined, None, None, None, None, left])

    def test_members_are_in_the_order_in_which_they_joined(self) -> None:
        for member in ("cid", "ada", "bob"):
            self.table.join("a", (b"t", member))
        self.assertEqual(self.table.members(b"t"), ("cid", "ada", "bob"))
        self.assertEqual(self.table.members(b"u"), ())

    def test_a_node_that_is_gone_loses_the_members_that_only_it_held(self) -> None:
        for node, member in (("a", "ada"), ("a", "bob"), ("b", "bob")):
            self.table.join(node, (b"t", member))
        self.assertEqual(self.table.drop("a"), [Change(b"t", "ada", False)])
        self.assertEqual(self.table.drop("a"), [])

    def test_replacing_returns_only_the_differences(self) -> None:
        self.table.join("a", (b"t", "ada"))
        self.table.join("a", (b"t", "bob"))
        changes = self.table.replace("a", [(b"t", "bob"), (b"t", "cid")])
        self.assertEqual(changes, [Change(b"t", "ada", False), Change(b"t", "cid", True)])

    @given(EVENTS)
    def test_the_changes_add_up_to_the_table(self, events: list[tuple]) -> None:
        table = PresenceTable()
        known: dict[bytes, set[str]] = defaultdict(set)
        held: dict[str, set[tuple[bytes, str]]] = defaultdict(set)
        for kind, node, argument in events:
            if kind == "join":
                changes = [table.join(node, argument)]
                held[node].add(argument)
            elif kind == "leave":
                changes = [table.leave(node, argument)]
                held[node].discard(argument)
            else:
                changes = list(table.replace(node, argument) if argument else table.drop(node))
                held[node] = set(argument or ())
            for topic, member, joined in filter(None, changes):
                assert (member in known[topic]) != joined
                (known[topic].add if joined else known[topic].discard)(member)
            everyone = set().union(*held.values())
            for topic in (b"t", b"u"):
                members = {member for where, member in everyone if where == topic}
                assert set(table.members(topic)) == known[topic] == members
            for name in held:
                assert set(table.memberships(name)) == held[name]
