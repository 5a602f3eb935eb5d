"""Tests of cluster.node.thread_pool."""

import threading
import weakref

from twisted.trial.unittest import SynchronousTestCase

from cluster.node.thread_pool import ThreadPool

PATIENCE_S = 60


class ThreadPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = ThreadPool(2, "test")
        self.addCleanup(self.pool.stop)

    def test_threads_start_when_they_are_needed(self) -> None:
        self.assertEqual(self.pool.threads, [])
        names = []
        for _ in range(3):
            ended = threading.Event()

            def call(ended: threading.Event = ended) -> None:
                names.append(threading.current_thread().name)
                ended.set()

            self.pool.callInThread(call)
            self.assertTrue(ended.wait(PATIENCE_S))
        self.assertLessEqual(set(names), {"test-0", "test-1"})

    def test_no_more_threads_than_the_maximum_run(self) -> None:
        both, release, ended = threading.Barrier(3), threading.Event(), []

        def call(number: int) -> None:
            if number < 2:
                both.wait(PATIENCE_S)
                release.wait(PATIENCE_S)
            ended.append(number)

        for number in range(4):
            self.pool.callInThread(call, number)
        both.wait(PATIENCE_S)
        self.assertEqual(len(self.pool.threads), 2)
        self.assertEqual(ended, [])
        release.set()
        self.pool.stop()
        self.assertEqual(sorted(ended), [0, 1, 2, 3])
        self.assertEqual(self.pool.threads, [])

    def test_a_thread_survives_an_error(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        ended = threading.Event()
        for _ in range(3):
            self.pool.callInThread(fail)
        self.pool.callInThread(ended.set)
        self.assertTrue(ended.wait(PATIENCE_S))
        self.pool.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_nothing_of_a_call_remains(self) -> None:
        class Call:
            def __call__(self) -> None:
                """Does nothing."""

        call = Call()
        left = weakref.ref(call)
        self.pool.callInThread(call)
        del call
        self.pool.stop()
        self.assertIsNone(left())
