"""Where a client of a feed is in its topics, whatever happens to them."""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.following import Following
from cluster.django.subscription import NO_POSITION
from cluster.net.frames import text_frame


class RecordingFollower:
    """One topic's follower; the test says what it hears."""

    def __init__(self, take: Any, answer: Any) -> None:
        self.take = take
        self.answer = answer
        self.epoch = ""
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class FollowingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.followers: dict[bytes, RecordingFollower] = {}
        self.asked: list[tuple[bytes, Any]] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.said: list[str] = []
        self.at_once: Callable[[RecordingFollower], None] = lambda follower: None
        self.following = Following(self, self, self.soon.append)

    # The PubSub.

    def follow(
        self, topic: bytes, take: Any, *, since: Any, answer: Any, for_client: bool
    ) -> RecordingFollower:
        self.assertTrue(for_client)
        self.asked.append((topic, since))
        follower = self.followers[topic] = RecordingFollower(take, answer)
        self.at_once(follower)
        return follower

    # The client.

    def answered(self, topic: str, said: bytes, recovered: bool) -> None:
        self.said.append(f"{topic} {recovered} at {self.following.place}")

    def took(self, topic: str, said: bytes) -> None:
        self.said.append(f"{topic} at {self.following.place}")

    # The test.

    def heard(self) -> list[str]:
        while self.soon:
            self.soon.popleft()()
        said, self.said = self.said, []
        return said

    def test_nothing_is_kept(self) -> None:
        self.following.begin(["a", "b"], {})
        self.assertEqual(self.asked, [(b"a", None), (b"b", None)])
        self.assertEqual(self.following.waiting, {"a", "b"})
        self.followers[b"a"].answer(False, "", 0)
        self.assertEqual(self.heard(), ["a False at "])
        self.assertEqual(self.following.waiting, {"b"})
        self.followers[b"a"].take(text_frame(b"x"), 0)
        self.assertEqual(self.heard(), ["a at "])

    def test_it_is_not_further_than_what_it_has_been_sent(self) -> None:
        self.following.begin(["a"], {"a": "e:3"})
        self.assertEqual(self.asked, [(b"a", ("e", 3))])
        self.assertEqual(self.following.place, "a=e:3")
        follower = self.followers[b"a"]
        follower.epoch = "e"
        follower.answer(True, "e", 5)
        follower.take(text_frame(b"4"), 4)
        follower.take(text_frame(b"5"), 5)
        self.assertEqual(self.heard(), ["a True at a=e:3", "a at a=e:4", "a at a=e:5"])

    def test_nothing_was_missed(self) -> None:
        self.following.begin(["a"], {"a": "e:5"})
        self.followers[b"a"].answer(True, "e", 5)
        self.assertEqual(self.heard(), ["a True at a=e:5"])

    def test_all_is_known_at_once(self) -> None:
        def at_once(follower: RecordingFollower) -> None:
            follower.answer(False, "f", 9)
            follower.take(text_frame(b"8"), 8)
            follower.take(text_frame(b"9"), 9)

        self.at_once = at_once
        self.following.begin(["a"], {"a": "e:5"})
        self.assertEqual(self.heard(), ["a False at a=f:7", "a at a=f:8", "a at a=f:9"])

    def test_another_numbering_while_it_listens(self) -> None:
        self.following.begin(["a"], {})
        follower = self.followers[b"a"]
        follower.answer(False, "", 0)
        follower.take(text_frame(b"x"), 0)
        follower.epoch = "e"
        follower.take(text_frame(b"x"), 1)
        follower.epoch = "f"
        follower.take(text_frame(b"x"), 40)
        self.assertEqual(self.heard()[1:], ["a at ", "a at a=e:1", "a at a=f:40"])

    def test_nonsense_is_no_position(self) -> None:
        self.following.begin(["a"], {"a": "e:1\nid: 7"})
        self.assertEqual(self.asked, [(b"a", NO_POSITION)])
        self.assertEqual(self.following.place, "")

    def test_a_topic_that_keeps_nothing_any_more(self) -> None:
        self.following.begin(["a"], {"a": "e:5"})
        self.followers[b"a"].answer(False, "", 0)
        self.assertEqual(self.heard(), ["a False at "])

    def test_beginning_anew(self) -> None:
        self.following.begin(["a"], {})
        first = self.followers[b"a"]
        first.answer(False, "e", 5)
        self.following.add("a", "e:2")
        self.assertTrue(first.stopped)
        self.followers[b"a"].answer(True, "e", 5)
        self.assertEqual(self.heard(), ["a True at a=e:5"])

    def test_stopped(self) -> None:
        self.following.begin(["a", "b"], {"a": "e:5"})
        self.followers[b"a"].answer(True, "e", 5)
        self.following.stop()
        self.assertEqual(self.heard(), [])
        self.assertTrue(self.followers[b"a"].stopped and self.followers[b"b"].stopped)
        self.following.add("c")
        self.assertNotIn(b"c", self.followers)

    def test_closed_by_what_it_hears_at_once(self) -> None:
        def at_once(follower: RecordingFollower) -> None:
            self.following.stop()

        self.at_once = at_once
        self.following.begin(["a", "b"], {})
        self.assertEqual(list(self.followers), [b"a"])
        self.assertTrue(self.followers[b"a"].stopped)
