"""The parties of one node, and the messages about them."""

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.pubsub.local_barriers import LocalBarriers


class LocalBarriersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[wire.Message] = []
        self.barriers = LocalBarriers(self.sent.append)
        self.events: list[str] = []

    def note(self, event: str) -> Callable[[], None]:
        return lambda: self.events.append(event)

    def arrive(self, party: str, barrier: str = "game", expected: int = 3) -> int:
        return self.barriers.arrive(
            barrier, expected, self.note(party), lambda why: self.events.append(f"{party}: {why}")
        )

    def assertSent(self, *messages: wire.Message) -> None:
        """The messages since the last call."""
        self.assertEqual(self.sent, list(messages))
        self.sent.clear()

    def test_arrivals_are_sent_and_tokens_are_unique(self) -> None:
        tokens = [self.arrive("a"), self.arrive("b"), self.arrive("c", "other")]
        self.assertEqual(len(set(tokens)), 3)
        self.assertSent(
            wire.Arrive("game", 3, (tokens[0],)),
            wire.Arrive("game", 3, (tokens[1],)),
            wire.Arrive("other", 3, (tokens[2],)),
        )

    def test_the_parties_that_a_release_names_are_released_once(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.released("game", (a, 99))
        self.assertEqual(self.events, ["a"])
        self.barriers.released("game", (a, b))
        self.assertEqual(self.events, ["a", "b"])

    def test_refused_parties_receive_the_reason(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.refused("game", (b, 99))
        self.assertEqual(self.events, ["b: the barrier is full or released already"])
        self.barriers.released("game", (a, b))
        self.assertEqual(self.events[1:], ["a"])
        self.barriers.refused("game", (a,))
        self.assertEqual(self.events[2:], [])

    def test_answers_about_a_barrier_that_all_parties_have_left_are_ignored(self) -> None:
        token = self.arrive("a")
        self.barriers.leave("game", token)
        self.barriers.released("game", (token,))
        self.barriers.refused("game", (token,))
        self.assertEqual(self.events, [])

    def test_a_party_that_leaves_is_withdrawn_whether_waiting_or_released(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.released("game", (a,))
        self.sent.clear()
        for token in (a, b):
            self.barriers.leave("game", token)
            self.assertSent(wire.Withdraw("game", (token,)))
            self.barriers.leave("game", token)
            self.assertSent()
        self.assertEqual(list(self.barriers.all_arrivals()), [])

    def test_leaving_with_an_unknown_token_does_nothing(self) -> None:
        self.arrive("a")
        self.sent.clear()
        self.barriers.leave("game", 99)
        self.barriers.leave("none", 99)
        self.assertSent()

    def test_a_party_that_another_removes_during_the_release_is_not_called(self) -> None:
        tokens: list[int] = []
        for party in "ab":
            tokens.append(
                self.barriers.arrive(
                    "game",
                    2,
                    lambda party=party: (
                        self.events.append(party),
                        self.leave_others(tokens, party),
                    ),
                    self.events.append,
                )
            )
        self.barriers.released("game", tokens)
        self.assertEqual(self.events, ["a"])
        self.assertEqual(
            list(self.barriers.all_arrivals()), [wire.Arrive("game", 2, (tokens[0],), True)]
        )

    def leave_others(self, tokens: list[int], party: str) -> None:
        self.barriers.leave("game", tokens["ba".index(party)])

    def test_a_party_that_another_removes_during_the_refusal_is_not_called(self) -> None:
        tokens = [
            self.barriers.arrive(
                "game", 2, self.note("released"), lambda why: self.barriers.leave("game", tokens[1])
            )
        ]
        tokens.append(self.arrive("b"))
        self.barriers.refused("game", tokens)
        self.assertEqual(self.events, [])

    def test_arriving_again_within_the_refusal_makes_a_new_party(self) -> None:
        """When the barrier has just been forgotten."""
        token = self.barriers.arrive(
            "game", 2, self.note("first"), lambda why: self.tokens.append(self.arrive("second"))
        )
        self.tokens: list[int] = []
        self.barriers.refused("game", (token,))
        self.barriers.released("game", self.tokens)
        self.assertEqual(self.events, ["second"])

    def test_all_arrivals_has_the_released_and_the_waiting_parties(self) -> None:
        a, b, c = self.arrive("a"), self.arrive("b"), self.arrive("c", "other", 0)
        self.barriers.released("game", (a,))
        self.assertEqual(
            list(self.barriers.all_arrivals()),
            [
                wire.Arrive("game", 3, (a,), released=True),
                wire.Arrive("game", 3, (b,)),
                wire.Arrive("other", 0, (c,)),
            ],
        )

    def test_names_and_numbers_that_cannot_be_sent_are_refused(self) -> None:
        for name, expected in (("game", -1), ("game", 1 << 63), ("\ud800", 2)):
            with self.assertRaises(ValueError):
                self.arrive("a", name, expected)
        self.assertSent()
        self.assertEqual(list(self.barriers.all_arrivals()), [])

    def test_messages_of_a_turn_are_merged(self) -> None:
        """Consecutive messages of one kind and barrier become one; the order stays."""
        messages: list[wire.Message] = [
            wire.Arrive("game", 3, (1,)),
            wire.Arrive("game", 3, (2,)),
            wire.Arrive("game", 2, (3,)),
            wire.Withdraw("game", (3,)),
            wire.Withdraw("game", (1,)),
            wire.Withdraw("other", (4,)),
            wire.Arrive("game", 3, (5,)),
        ]
        self.assertEqual(
            LocalBarriers.merge(messages),
            [
                wire.Arrive("game", 3, (1, 2)),
                wire.Arrive("game", 2, (3,)),
                wire.Withdraw("game", (3, 1)),
                wire.Withdraw("other", (4,)),
                wire.Arrive("game", 3, (5,)),
            ],
        )
        self.assertEqual(LocalBarriers.merge([]), [])
