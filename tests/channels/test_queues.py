"""Queues against a model: order, capacity, expiry and membership, for any calls."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.channels.drops import EXPIRED, FULL, Drops
from cluster.channels.queues import ABANDONED, Queues
from tests import profiles  # noqa: F401  # loads the Hypothesis profile

EXPIRY, GROUP_EXPIRY, CAPACITY = 10, 100, 2

channels = st.sampled_from(["a", "b", "c"])
groups = st.sampled_from(["g", "h"])
calls = st.one_of(
    st.tuples(st.just("put"), channels),
    st.tuples(st.just("put_to_group"), groups),
    st.tuples(st.just("take"), channels),
    st.tuples(st.just("add"), groups, channels),
    st.tuples(st.just("discard"), groups, channels),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 50, 100])),
    st.tuples(st.just("flush")),
)


class NoLoop:
    """An event loop for a receiver that does not wait."""

    def create_future(self) -> object:
        return object()


class Model:
    """What a channel layer must do, in the simplest form."""

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[str, list[tuple[float, bytes]]] = {}
        self.members: dict[str, dict[str, float]] = {}

    def unread(self, channel: str) -> list[bytes]:
        return [body for until, body in self.entries.get(channel, []) if until > self.now]

    def put(self, channel: str, body: bytes) -> bool:
        if len(self.unread(channel)) >= CAPACITY:
            return False
        self.entries.setdefault(channel, []).append((self.now + EXPIRY, body))
        return True

    def put_to_group(self, group: str, body: bytes) -> None:
        for channel, until in self.members.get(group, {}).items():
            if until > self.now:
                self.put(channel, body)

    def take(self, channel: str) -> bytes | None:
        unread = self.unread(channel)
        if not unread:
            return None
        entries = self.entries[channel]
        while entries[0][0] <= self.now:
            del entries[0]
        return entries.pop(0)[1]


class QueuesPropertyTests(SynchronousTestCase):
    @given(st.lists(calls, max_size=60))
    def test_any_calls(self, made: list[Any]) -> None:
        model, drops = Model(), Drops()
        drops.log = SilentLog()  # type: ignore[assignment]
        queues = Queues(EXPIRY, GROUP_EXPIRY, lambda name: CAPACITY, lambda: model.now, drops)
        for number, (call, *arguments) in enumerate(made):
            body = str(number).encode()
            match call, arguments:
                case "put", [channel]:
                    self.assertEqual(model.put(channel, body), queues.put(channel, body))
                case "put_to_group", [group]:
                    model.put_to_group(group, body)
                    queues.put_to_group(group, body)
                case "take", [channel]:
                    self.assertEqual(model.take(channel), self.taken(queues, channel))
                case "add", [group, channel]:
                    members = model.members.setdefault(group, {})
                    members[channel] = model.now + GROUP_EXPIRY
                    queues.add(group, channel)
                case "discard", [group, channel]:
                    model.members.get(group, {}).pop(channel, None)
                    queues.discard(group, channel)
                case "wait", [seconds]:
                    model.now += seconds
                    self.read_all(model, queues)
                case _:
                    model.entries.clear()
                    model.members.clear()
                    queues.flush()
        # Nothing stays: everything is read, and nobody is a member any more.
        self.read_all(model, queues)
        for group in queues.groups():
            for channel in ("a", "b", "c"):
                queues.discard(group, channel)
        self.assertEqual({}, queues._queues)
        self.assertEqual([], queues.groups())

    def read_all(self, model: Model, queues: Queues) -> None:
        """Read all channels, so that none of them is abandoned."""
        for channel in ("a", "b", "c"):
            while (body := model.take(channel)) is not None:
                self.assertEqual(body, self.taken(queues, channel))
            self.assertEqual(None, self.taken(queues, channel))

    def taken(self, queues: Queues, channel: str) -> bytes | None:
        taken = queues.take(channel, NoLoop())  # type: ignore[arg-type]
        if not isinstance(taken, bytes):
            queues.give_up(channel, taken)
            return None
        return taken


class SilentLog:
    def warn(self, text: str, **values: object) -> None:
        """Drop the line."""


class QueuesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.drops = Drops()
        self.queues = Queues(
            EXPIRY, GROUP_EXPIRY, lambda name: CAPACITY, lambda: self.now, self.drops
        )

    def test_a_channel_that_nobody_reads_is_forgotten(self) -> None:
        self.queues.put("old", b"1")
        self.queues.add("group", "old")
        self.now = ABANDONED * EXPIRY
        self.queues.put("new", b"2")
        self.assertEqual(["new"], list(self.queues._queues))
        self.assertEqual([], self.queues.groups())
        self.assertEqual({EXPIRED: 1}, self.drops.counts)

    def test_a_log_line_for_drops_but_not_for_each(self) -> None:
        lines: list[Any] = []
        self.drops._log._emit = lambda text, **values: lines.append(values["channel"])
        self.queues.add("group", "slow")
        for _ in range(CAPACITY + 1000):
            self.queues.put_to_group("group", b"")
        self.assertEqual({FULL: 1000}, self.drops.counts)
        self.assertEqual(["slow"] * 5, lines)

    def test_messages_for_another_process(self) -> None:
        for body in (b"1", b"2"):
            self.queues.put("worker", body)
        self.assertEqual([b"1", b"2"], self.queues.take_all("worker"))
        self.assertEqual([], self.queues.take_all("worker"))
