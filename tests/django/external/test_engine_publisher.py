"""Publishing through the engine of several machines, with an engine that the test decides on."""

import os
import threading
import warnings
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError, NotPublished, NotRunning
from cluster.core.wire.external_publisher import (
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.django.api.publication import Counts
from cluster.django.external import engine_publisher
from cluster.django.external.engine_publisher import EnginePublisher

PATIENCE_S = 60
"""After which a thread of a busy machine will never end."""

Answers = Callable[[list[Publish]], list[ExternalMessage]]


def accepted(publications: list[Publish]) -> list[ExternalMessage]:
    return [Accepted(publication.depth, 1) for publication in publications]


class FakeEngine:
    """Records requests, and answers what ``answer`` returns or raises."""

    def __init__(self) -> None:
        self.answer: Answers = accepted
        self.requests: list[list[Publish]] = []
        self.preferred: list[str] = []
        self.ids: set[str] = set()
        self.deadlines: list[float] = []
        self.closed = 0

    def ask(self, request_id: str, data: bytes, prefer: str, deadline: float) -> tuple[bytes, str]:
        greeting, *publications = MessageDecoder().feed(data)
        assert greeting == Greeting("ours")
        self.ids.add(request_id)
        self.preferred.append(prefer)
        self.deadlines.append(deadline)
        request = [each for each in publications if isinstance(each, Publish)]
        self.requests.append(request)
        return b"".join(map(encode, self.answer(request))), f"machine{len(self.requests)}"

    def check(self, deadline: float) -> None:
        self.deadlines.append(deadline)
        self.answer([])

    def close(self) -> None:
        self.closed += 1


class EnginePublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = FakeEngine()
        self.connected = 0
        self.publisher = EnginePublisher(self.connect, lambda: "ours")

    def connect(self) -> FakeEngine:
        self.connected += 1
        return self.engine

    def publish(self, depth: int = 3) -> Accepted:
        return self.publisher.publish(Publish(b"live", b"\x81\x02hi", depth))

    def later(self, depth: int = 3) -> list[Counts | Exception]:
        answers: list[Counts | Exception] = []
        self.publisher.publish_later(Publish(b"live", b"\x81\x02hi", depth), answers.append)
        return answers

    def hold(self) -> Callable[[], object]:
        """The engine does not answer before the returned function is called."""
        may_answer, is_asked = threading.Event(), threading.Event()
        self.addCleanup(may_answer.set)

        def answer(publications: list[Publish]) -> list[ExternalMessage]:
            is_asked.set()
            assert may_answer.wait(PATIENCE_S)
            return accepted(publications)

        self.engine.answer = answer
        first = threading.Thread(target=self.publish, args=(0,))
        first.start()
        assert is_asked.wait(PATIENCE_S)

        def release() -> None:
            may_answer.set()
            first.join(PATIENCE_S)

        return release

    def fails(self, error: BaseException) -> None:
        def answer(publications: list[Publish]) -> list[ExternalMessage]:
            raise error

        self.engine.answer = answer

    def test_a_receipt(self) -> None:
        self.assertEqual([self.publish(3), self.publish(4)], [Accepted(3, 1), Accepted(4, 1)])
        self.assertEqual(self.connected, 1)
        self.assertEqual(len(self.engine.ids), 2)
        self.assertEqual(self.engine.preferred, ["", "machine1"], "one machine keeps the order")

    def test_it_is_refused(self) -> None:
        self.engine.answer = lambda _: [Rejection("too loud")]
        error = self.assertRaises(NotPublished, self.publish)
        self.assertEqual(str(error), "the cluster refused a publication: too loud")
        self.assertFalse(error.uncertain)

    def test_errors_of_the_engine(self) -> None:
        for error in (NotRunning("nobody"), NotPublished("lost", uncertain=True)):
            self.fails(error)
            self.assertIs(self.assertRaises(type(error), self.publish), error)
            self.assertIs(self.assertRaises(type(error), self.publisher.check), error)
        self.engine.answer = accepted
        self.publisher.check()
        self.publish()

    def test_an_engine_that_cannot_be_used(self) -> None:
        error = ConfigurationError("redis-py is missing")

        def connect() -> FakeEngine:
            raise error

        self.publisher = EnginePublisher(connect, lambda: "ours")
        self.assertIs(self.assertRaises(ConfigurationError, self.publish), error)
        self.assertIs(self.assertRaises(ConfigurationError, self.publisher.check), error)

    def test_an_answer_that_makes_no_sense(self) -> None:
        for answer in ([], [Greeting("ours")]):
            self.engine.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            error = self.assertRaises(NotPublished, self.publish)
            self.assertIn("makes no sense", str(error))
            self.assertTrue(error.uncertain)

    def test_more_answers_than_publications(self) -> None:
        self.engine.answer = lambda _: [Accepted(1, 1)] * 2
        self.assertEqual(self.publish(), Accepted(1, 1))

    def test_another_machine_publishes_what_one_has_not(self) -> None:
        self.patch(engine_publisher, "PAUSE_S", 0)
        answers = iter([[Closing()], [Accepted(7, 1)]])
        self.engine.answer = lambda _: [*next(answers)]
        self.assertEqual(self.publish(), Accepted(7, 1))
        self.assertEqual((len(self.engine.requests), self.engine.preferred), (2, ["", ""]))
        self.assertEqual(len({*self.engine.deadlines}), 1)

    def test_no_machine_publishes(self) -> None:
        self.patch(engine_publisher, "ANSWER_TIMEOUT_S", 0.2)
        self.engine.answer = lambda _: [Closing()]
        error = self.assertRaises(NotPublished, self.publish)
        self.assertIn("no machine has a node that publishes", str(error))
        self.assertGreater(len(self.engine.requests), 1)

    def test_it_does_not_wait_each_time(self) -> None:
        now = [100.0]
        self.patch(engine_publisher.time, "monotonic", lambda: now[0])

        def answer(publications: list[Publish]) -> list[ExternalMessage]:
            now[0] = self.engine.deadlines[-1]
            raise NotRunning("nobody")

        self.engine.answer = answer
        waited = []
        for _ in range(3):
            before = now[0]
            self.assertRaises(NotRunning, self.publish)
            waited.append(round(now[0] - before, 1))
        self.assertEqual(waited, [5, 0.5, 0.5])
        now[0] += engine_publisher.HOPELESS_S
        self.assertRaises(NotRunning, self.publish)
        self.engine.answer = accepted
        self.publish()  # it is there again: wait for it as at first
        self.engine.answer = answer
        before = now[0]
        self.assertRaises(NotRunning, self.publish)
        self.assertEqual(round(now[0] - before, 1), 5)

    def test_later_ones_are_answered_in_another_thread(self) -> None:
        done = threading.Event()
        answers: list[Counts | Exception] = []

        def take(answer: Counts | Exception) -> None:
            answers.append(answer)
            done.set()

        self.publisher.publish_later(Publish(b"live", b"\x81\x02hi", 5), take)
        self.assertTrue(done.wait(PATIENCE_S))
        self.assertEqual(answers, [Accepted(5, 1)])

    def test_what_waits_goes_in_one_request(self) -> None:
        release = self.hold()
        answers = [self.later(depth) for depth in (1, 2, 3)]
        release()
        self.assertEqual(self.publish(4), Accepted(4, 1))  # after the earlier ones
        self.assertEqual(answers, [[Accepted(1, 1)], [Accepted(2, 1)], [Accepted(3, 1)]])
        depths = [each.depth for request in self.engine.requests for each in request]
        self.assertEqual(depths, [0, 1, 2, 3, 4])
        self.assertIn(len(self.engine.requests), (2, 3))

    def test_requests_are_bounded(self) -> None:
        self.patch(engine_publisher, "REQUEST_BYTES", 100)
        release = self.hold()
        long = Publish(b"live", b"\x81" + b"x" * 200, 1)
        self.publisher.publish_later(long, lambda answer: None)
        self.later(2)
        self.later(3)
        self.patch(engine_publisher, "REQUEST_PUBLICATIONS", 1)
        release()
        self.publish(4)
        depths = [[each.depth for each in request] for request in self.engine.requests]
        self.assertEqual(depths, [[0], [1], [2], [3], [4]])

    def test_a_caller_waits_while_too_much_waits(self) -> None:
        self.patch(engine_publisher, "MAX_LATER_BYTES", 10)
        self.assertEqual(self.later(), [Accepted(3, 1)])

    def test_threads_publish_together(self) -> None:
        receipts: list[Accepted] = []

        def many(depth: int) -> None:
            receipts.extend(self.publish(depth) for _ in range(30))

        threads = [threading.Thread(target=many, args=(depth,)) for depth in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        self.assertEqual(sorted(receipts), [Accepted(n, 1) for n in range(4) for _ in range(30)])
        self.assertEqual(sum(map(len, self.engine.requests)), 120)

    def test_a_forked_process_has_a_connection_of_its_own(self) -> None:
        os.register_at_fork(after_in_child=self.publisher.forget)
        release = self.hold()
        self.later()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                self.engine.answer = accepted
                self.publish(7)
                requests = [[each.depth for each in r] for r in self.engine.requests]
                status = 0 if (requests, self.connected) == ([[0], [7]], 2) else 2
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        release()

    def test_an_interruption_is_no_silent_loss(self) -> None:
        """A task queue stops a task by raising an exception wherever it is."""

        class Interrupted(BaseException):
            pass

        self.publish()
        self.patch(self.publisher, "_run", lambda: None)
        answers = self.later()
        self.fails(Interrupted())
        self.assertRaises(Interrupted, self.publish)
        (error,) = answers
        assert isinstance(error, NotPublished)
        self.assertTrue(error.uncertain)
        self.assertEqual(self.engine.closed, 1)
        self.engine.answer = accepted
        self.publish()

    def test_an_answer_may_cause_a_publication(self) -> None:
        """For example a log handler that publishes what it logs."""
        again: list[object] = []
        self.patch(self.publisher, "_run", lambda: None)
        publication = Publish(b"live", b"\x81\x02hi", 1)
        self.publisher.publish_later(publication, lambda _: again.append(self.publish(2)))
        self.publish(3)
        self.assertEqual(again, [Accepted(2, 1)])

    def test_the_end_of_the_process_sends_the_rest(self) -> None:
        self.patch(self.publisher, "_run", lambda: None)
        answers = self.later()
        self.publisher.finish()
        self.assertEqual(answers, [Accepted(3, 1)])
        self.publisher.finish()

    def test_no_thread_can_be_started_at_the_end(self) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        self.patch(threading.Thread, "start", start)
        answers = self.later()
        self.assertEqual(answers, [])
        self.publisher.finish()
        self.assertEqual(answers, [Accepted(3, 1)])

    def test_the_end_of_the_process_does_not_wait_long(self) -> None:
        self.patch(engine_publisher, "EXIT_TIMEOUT_S", 0.05)
        release = self.hold()
        answers = self.later()
        self.publisher.finish()
        (error,) = answers
        assert isinstance(error, NotPublished)
        self.assertIn("ended before the message was sent", str(error))
        release()
        self.assertEqual(len(answers), 1)

    def test_messages_that_are_too_long(self) -> None:
        long = Publish(b"live", bytes(16 << 20))
        self.assertRaises(ValueError, self.publisher.publish, long)
        self.assertRaises(ValueError, self.publisher.publish_later, long, lambda answer: None)
        self.assertEqual(self.engine.requests, [])
