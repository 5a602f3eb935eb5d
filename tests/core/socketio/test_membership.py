"""Which events of a log are for a socket, whose rooms change."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.socketio import membership
from cluster.core.socketio.membership import Membership

ROOMS = st.sampled_from(["a", "b", "id"])
EVENT = st.tuples(
    st.just("event"), st.lists(ROOMS, max_size=2), st.lists(st.sampled_from("ab"), max_size=1)
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["join", "leave"]), st.sampled_from("ab")),
        EVENT,
    ),
    max_size=30,
)


def received_live(steps: list[Any], found: Membership) -> tuple[list[Any], list[int]]:
    """The events of the log, and the offsets of those that a connected socket receives."""
    rooms = {"id"}
    events: list[Any] = []
    live = []
    for step in steps:
        if step[0] == "join":
            rooms.add(step[1])
            found.join(step[1], len(events))
        elif step[0] == "leave":
            rooms.discard(step[1])
            found.leave(step[1], len(events))
        else:
            _, to, skipped = step
            events.append((to, skipped))
            if (not to or rooms & set(to)) and not rooms & set(skipped):
                live.append(len(events))
    return events, live


class MembershipTests(SynchronousTestCase):
    @given(STEPS)
    def test_what_is_replayed_is_what_was_received_live(self, steps: list[Any]) -> None:
        found = Membership("id", 0)
        events, live = received_live(steps, found)
        copy = Membership.from_json("id", json.loads(json.dumps(found.as_json())))
        for number, (rooms, skipped) in enumerate(events, 1):
            self.assertEqual(copy.receives(rooms, skipped, number), number in live)

    def test_rooms_that_were_left_are_forgotten_beyond_a_number(self) -> None:
        self.patch(membership, "MAX_LEFT", 2)
        found = Membership("id", 0)
        for number, room in enumerate("abc"):
            found.join(room, 10 * number)
            found.leave(room, 10 * number + 5)
        self.assertEqual([room for room, _, _ in found.left], ["b", "c"])
        self.assertEqual([found.resume_after(4), found.resume_after(5)], [None, 5])

    @given(STEPS)
    def test_what_is_not_remembered_is_not_replayed(self, steps: list[Any]) -> None:
        self.patch(membership, "MAX_LEFT", 2)
        found = Membership("id", 0)
        events, live = received_live(steps, found)
        for offset in range(len(events) + 1):
            after = found.resume_after(offset)
            if after is not None:
                numbers = range(after + 1, len(events) + 1)
                replayed = [each for each in numbers if found.receives(*events[each - 1], each)]
                self.assertEqual(replayed, [each for each in live if each > offset])

    def test_the_start(self) -> None:
        found = Membership("id", 5)
        self.assertFalse(found.receives((), (), 5))
        self.assertTrue(found.receives((), (), 6))
        self.assertEqual(found.resume_after(3), 5)
        self.assertEqual(found.resume_after(7), 7)

    def test_a_room_that_is_entered_and_left_between_events(self) -> None:
        found = Membership("id", 0)
        found.join("a", 3)
        found.leave("a", 3)
        found.leave("b", 3)
        self.assertEqual(found.left, [])
        found.join("a", 3)
        found.join("a", 4)
        self.assertTrue(found.was_in("a", 4))

    def test_renumbered(self) -> None:
        found = Membership("id", 1)
        found.join("a", 3)
        found.renumbered(3, 9)
        self.assertEqual(found.resume_after(2), 2)
        found.join("b", 8)
        found.leave("a", 9)
        found.renumbered(7, 8)
        self.assertIsNone(found.resume_after(7))
        self.assertEqual(found.resume_after(8), 8)
        self.assertTrue(found.receives(["b"], (), 9))
        self.assertFalse(found.receives(["a"], (), 9))

    def test_invalid_values(self) -> None:
        for value in (
            None,
            5,
            [1, 1, {}],
            [1, 1, [], []],
            [1, "x", {}, []],
            [1, 1, {}, [["a", 1]]],
        ):
            with self.assertRaises(ValueError):
                Membership.from_json("id", value)
