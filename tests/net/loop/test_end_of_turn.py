"""One send for all queued frames, the order of the steps, and the pause between publications."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.loop import end_of_turn
from cluster.net.loop.end_of_turn import EndOfTurn


class FakeSocket:
    """Accepts ``room`` bytes per send, or raises ``error``."""

    def __init__(self) -> None:
        self.sends: list[bytes] = []
        self.room = 1 << 30
        self.error: OSError | None = None

    def send(self, output: bytes) -> int:
        if self.error is not None:
            raise self.error
        self.sends.append(output[: self.room])
        return min(self.room, len(output))


class FakeWriter:
    """The part of a connection that EndOfTurn uses."""

    def __init__(self, end_of_turn: EndOfTurn) -> None:
        self.socket = FakeSocket()
        self.send: Any = self.socket.send
        self.out: list[bytes] = []
        self.end_of_turn = end_of_turn
        self.events: list[Any] = []

    def append(self, frame: bytes) -> None:
        if not self.out:
            self.end_of_turn.direct.append(self)
        self.out.append(frame)
        self.end_of_turn.schedule()

    def publish(self, frame: bytes) -> None:
        if not self.out:
            self.end_of_turn.published.append(self)
        self.out.append(frame)
        self.end_of_turn.schedule_published()

    def broken(self, frames: int) -> None:
        self.events.append(("broken", frames))

    def wait_for_socket(self, frames: list[bytes], taken: int) -> None:
        self.events.append(b"".join(frames)[taken:])

    def flush_queue(self) -> None:
        self.events.append("queue")
        raise RuntimeError("a bug of this one")


class EndOfTurnTests(SynchronousTestCase):
    """Without a pause."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.end_of_turn = EndOfTurn(self.clock)
        self.one, self.two = FakeWriter(self.end_of_turn), FakeWriter(self.end_of_turn)

    def test_each_connection_is_sent_once_in_a_turn(self) -> None:
        for payload in (b"a", b"b", b"c"):
            self.one.append(payload)
        self.two.append(b"d")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"abc"])
        self.assertEqual(self.two.socket.sends, [b"d"])
        self.assertEqual(self.end_of_turn.frames_sent, 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_reactor_call_is_scheduled_between_begin_and_flush(self) -> None:
        self.end_of_turn.begin()
        self.one.append(b"a")
        self.two.publish(b"c")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.end_of_turn.flush()
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a"], [b"c"]))
        self.one.append(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_the_steps_run_in_order(self) -> None:
        order: list[str] = []
        for name, writer in (("direct", self.one), ("published", self.two)):
            writer.send = lambda output, name=name: order.append(name) or len(output)
        self.end_of_turn.send_to_bus = lambda: order.append("bus")
        self.end_of_turn.send_to_streams = lambda: order.append("streams")
        self.two.publish(b"a")
        self.one.append(b"b")
        self.clock.advance(0)
        self.assertEqual(order, ["direct", "published", "bus", "streams"])

    def test_direct_output_alone_does_not_run_the_steps_of_publications(self) -> None:
        self.end_of_turn.send_to_bus = self.end_of_turn.send_to_streams = lambda: 1 // 0
        self.one.append(b"a")
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"a"])

    def test_a_connection_on_both_lists_keeps_its_order(self) -> None:
        self.one.publish(b"a")
        self.end_of_turn.direct.append(self.one)
        self.one.append(b"b")
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"ab"])

    def test_the_rest_of_a_partial_send_waits_for_the_socket(self) -> None:
        self.one.socket.room = 2
        self.one.append(b"abc")
        self.one.append(b"de")
        self.clock.advance(0)
        self.assertEqual(self.one.events, [b"cde"])

    def test_a_full_socket_waits_with_all_bytes(self) -> None:
        self.one.socket.error = BlockingIOError()
        self.one.append(b"abc")
        self.clock.advance(0)
        self.assertEqual(self.one.events, [b"abc"])

    def test_an_error_affects_only_its_connection(self) -> None:
        for error in (BrokenPipeError(), ConnectionResetError()):
            self.one.socket.error = error
            self.one.append(b"a")
            self.one.append(b"b")
            self.two.append(b"b")
            self.clock.advance(0)
        self.assertEqual(self.one.events, [("broken", 2)] * 2)
        self.assertEqual(self.end_of_turn.frames_sent, 2)
        self.assertEqual(self.two.socket.sends, [b"b", b"b"])

    def test_an_exception_of_one_step_does_not_stop_the_others(self) -> None:
        self.one.send = None
        streams: list[int] = []
        self.end_of_turn.send_to_bus = lambda: {}[1]
        self.end_of_turn.send_to_streams = lambda: streams.append(1)
        self.one.append(b"a")
        self.two.append(b"b")
        self.end_of_turn.schedule_published()
        self.clock.advance(0)
        self.assertEqual(self.two.socket.sends, [b"b"])
        self.assertEqual(streams, [1])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_output_of_a_step_is_sent_in_the_next_turn(self) -> None:
        once = [b"from a step"]
        self.end_of_turn.send_to_bus = lambda: once and self.one.append(once.pop())
        self.two.publish(b"b")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"from a step"])

    def test_direct_and_published_output_end_the_turn_together(self) -> None:
        steps: list[int] = []
        self.end_of_turn.send_to_bus = lambda: steps.append(1)
        self.one.publish(b"a")
        self.two.append(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a"], [b"b"]))
        self.end_of_turn.flush_all()
        self.assertEqual(steps, [1, 1])


class PacedTests(SynchronousTestCase):
    """Publications wait for the pause; output for one client does not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.end_of_turn = EndOfTurn(self.clock, pace=2.0)
        self.one, self.two = FakeWriter(self.end_of_turn), FakeWriter(self.end_of_turn)
        self.steps: list[float] = []
        self.end_of_turn.send_to_bus = lambda: self.steps.append(self.clock.seconds())
        self.now = 0.0
        self.patch(end_of_turn, "perf_counter", lambda: self.now)

    def take(self, seconds: float) -> None:
        """Let the next publication take ``seconds``."""

        def send_to_streams() -> None:
            self.now += seconds
            self.end_of_turn.send_to_streams = lambda: None

        self.end_of_turn.send_to_streams = send_to_streams

    def test_the_first_publication_is_sent_at_once(self) -> None:
        self.one.publish(b"a")
        self.one.publish(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"ab"])
        self.assertEqual(self.steps, [0.0])

    def test_the_pause_is_proportional_to_the_duration_of_the_last_steps(self) -> None:
        self.take(0.004)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.one.publish(b"b")
        self.two.publish(b"c")
        self.clock.advance(0.0079)
        self.assertEqual(self.one.socket.sends, [b"a"])
        self.one.publish(b"d")
        self.clock.advance(0.0002)
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a", b"bd"], [b"c"]))
        self.assertEqual(len(self.steps), 2)

    def test_the_pause_is_at_most_the_maximum(self) -> None:
        self.take(10)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.one.publish(b"b")
        self.clock.advance(end_of_turn.MAX_PACE_S)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_time_since_the_last_steps_counts_as_pause(self) -> None:
        self.take(0.005)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.clock.advance(1)
        self.one.publish(b"b")
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_answers_to_one_client_do_not_wait_and_run_no_other_step(self) -> None:
        self.take(0.005)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.one.publish(b"b")
        self.two.append(b"answer")
        self.clock.advance(0)
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a"], [b"answer"]))
        self.assertEqual(len(self.steps), 1)

    def test_a_connection_on_both_lists_is_sent_once(self) -> None:
        """The direct step sends its whole queue, and the paced step finds it empty."""
        self.take(0.005)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.one.publish(b"b")
        self.end_of_turn.direct.append(self.one)
        self.end_of_turn.schedule()
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])
        self.clock.advance(end_of_turn.MAX_PACE_S)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_output_of_a_step_is_paced_too(self) -> None:
        once = [b"from a step"]
        self.end_of_turn.send_to_bus = lambda: once and self.one.publish(once.pop())
        self.two.publish(b"a")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"from a step"])

    def test_output_that_a_step_queues_without_schedule_is_sent_next(self) -> None:
        def leave() -> None:
            if not self.one.out and not self.one.socket.sends:
                self.one.out.append(b"left")
                self.end_of_turn.published.append(self.one)

        self.end_of_turn.send_to_bus = leave
        self.two.publish(b"a")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"left"])

    def test_flush_all_ignores_the_pause(self) -> None:
        self.take(0.005)
        self.one.publish(b"a")
        self.clock.advance(0)
        self.one.publish(b"b")
        self.two.append(b"c")
        self.end_of_turn.flush_all()
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a", b"b"], [b"c"]))
        self.assertEqual(len(self.steps), 2)
