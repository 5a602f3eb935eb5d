"""The parties of one node, and what the exchange is told of them."""

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.pubsub.barriers import LocalBarriers


class LocalBarriersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[wire.Message] = []
        self.barriers = LocalBarriers(self.sent.append)
        self.events: list[str] = []

    def note(self, event: str) -> Callable[[], None]:
        return lambda: self.events.append(event)

    def arrive(self, who: str, barrier: str = "game", expected: int = 3) -> int:
        return self.barriers.arrive(
            barrier, expected, self.note(who), lambda why: self.events.append(f"{who}: {why}")
        )

    def assertSent(self, *messages: wire.Message) -> None:
        """Since this was last asked."""
        self.assertEqual(self.sent, list(messages))
        self.sent.clear()

    def test_arrivals_are_told_and_tokens_are_unique(self) -> None:
        tokens = [self.arrive("a"), self.arrive("b"), self.arrive("c", "other")]
        self.assertEqual(len(set(tokens)), 3)
        self.assertSent(
            wire.Arrive("game", 3, (tokens[0],)),
            wire.Arrive("game", 3, (tokens[1],)),
            wire.Arrive("other", 3, (tokens[2],)),
        )

    def test_only_those_that_a_release_names_are_let_go_once(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.released("game", (a, 99))
        self.assertEqual(self.events, ["a"])
        self.barriers.released("game", (a, b))
        self.assertEqual(self.events, ["a", "b"])

    def test_refused(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.refused("game", (b, 99))
        self.assertEqual(self.events, ["b: the barrier is full or released already"])
        self.barriers.released("game", (a, b))
        self.assertEqual(self.events[1:], ["a"])
        self.barriers.refused("game", (a,))
        self.assertEqual(self.events[2:], [])

    def test_answers_for_a_barrier_that_all_have_left(self) -> None:
        token = self.arrive("a")
        self.barriers.leave("game", token)
        self.barriers.released("game", (token,))
        self.barriers.refused("game", (token,))
        self.assertEqual(self.events, [])

    def test_who_leaves_is_withdrawn_be_it_waiting_or_let_go(self) -> None:
        a, b = self.arrive("a"), self.arrive("b")
        self.barriers.released("game", (a,))
        self.sent.clear()
        for token in (a, b):
            self.barriers.leave("game", token)
            self.assertSent(wire.Withdraw("game", (token,)))
            self.barriers.leave("game", token)
            self.assertSent()
        self.assertEqual(list(self.barriers.all_arrivals()), [])

    def test_unknown_tokens_leave_nothing(self) -> None:
        self.arrive("a")
        self.sent.clear()
        self.barriers.leave("game", 99)
        self.barriers.leave("none", 99)
        self.assertSent()

    def test_one_that_another_takes_out_at_the_release_is_not_told(self) -> None:
        tokens: list[int] = []
        for who in "ab":
            tokens.append(
                self.barriers.arrive(
                    "game",
                    2,
                    lambda who=who: (self.events.append(who), self.leave_others(tokens, who)),
                    self.events.append,
                )
            )
        self.barriers.released("game", tokens)
        self.assertEqual(self.events, ["a"])
        self.assertEqual(
            list(self.barriers.all_arrivals()), [wire.Arrive("game", 2, (tokens[0],), True)]
        )

    def leave_others(self, tokens: list[int], who: str) -> None:
        self.barriers.leave("game", tokens["ba".index(who)])

    def test_one_that_another_takes_out_at_the_refusal_is_not_told(self) -> None:
        tokens = [
            self.barriers.arrive(
                "game", 2, self.note("released"), lambda why: self.barriers.leave("game", tokens[1])
            )
        ]
        tokens.append(self.arrive("b"))
        self.barriers.refused("game", tokens)
        self.assertEqual(self.events, [])

    def test_who_comes_back_at_once_is_a_new_party(self) -> None:
        """From within the refusal, when the barrier has just been forgotten."""
        token = self.barriers.arrive(
            "game", 2, self.note("first"), lambda why: self.tokens.append(self.arrive("second"))
        )
        self.tokens: list[int] = []
        self.barriers.refused("game", (token,))
        self.barriers.released("game", self.tokens)
        self.assertEqual(self.events, ["second"])

    def test_all_arrivals_tell_who_was_let_go_and_who_waits(self) -> None:
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

    def test_what_cannot_be_sent_is_refused_here(self) -> None:
        for name, expected in (("game", -1), ("game", 1 << 63), ("\ud800", 2)):
            with self.assertRaises(ValueError):
                self.arrive("a", name, expected)
        self.assertSent()
        self.assertEqual(list(self.barriers.all_arrivals()), [])

    def test_merged(self) -> None:
        """Neighbours of a kind become one; order across kinds and barriers stays."""
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
