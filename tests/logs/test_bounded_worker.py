"""Tests of cluster.logs.bounded_worker, with real threads."""

import os
import threading

from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.bounded_worker import BoundedWorker

PATIENCE_S = 60.0


class BoundedWorkerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.done: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.worker: BoundedWorker[str] = BoundedWorker("test", self.perform, 100, len)
        self.addCleanup(self.worker.stop, PATIENCE_S)
        self.addCleanup(self.gate.set)

    def perform(self, items: list[str]) -> None:
        self.entered.set()
        self.gate.wait(PATIENCE_S)
        self.done.extend(items)
        if "bad" in items:
            raise ValueError("of perform")

    def block(self) -> None:
        """Have the thread wait in ``perform``."""
        self.worker.start()
        self.worker.add("first")
        self.assertTrue(self.entered.wait(PATIENCE_S))

    def test_without_the_thread_an_item_is_passed_on_at_once(self) -> None:
        self.gate.set()
        self.assertTrue(self.worker.add("a"))
        self.assertEqual(self.done, ["a"])
        self.assertTrue(self.worker.flush(0))

    def test_items_keep_their_order(self) -> None:
        self.block()
        items = [str(number) for number in range(20)]
        for item in items:
            self.assertTrue(self.worker.add(item))
        self.assertEqual(self.done, [])
        self.assertFalse(self.worker.flush(0))
        self.gate.set()
        self.assertTrue(self.worker.flush(PATIENCE_S))
        self.assertEqual(self.done, ["first", *items])

    def test_items_beyond_the_limit_are_dropped_and_counted(self) -> None:
        self.block()
        self.assertTrue(self.worker.add("x" * 70))
        self.assertFalse(self.worker.add("y" * 10))
        self.assertEqual(self.worker.dropped, 1)
        self.assertTrue(self.worker.add("z" * 10, urgent=True))  # from the reserve
        self.assertFalse(self.worker.add("z" * 20, urgent=True))
        self.assertEqual(self.worker.dropped, 2)
        self.gate.set()
        self.assertTrue(self.worker.flush(PATIENCE_S))
        self.assertTrue(self.worker.add("y" * 10))
        self.worker.flush(PATIENCE_S)
        self.assertEqual(self.done[-1], "y" * 10)

    def test_an_error_does_not_end_the_thread(self) -> None:
        self.gate.set()
        self.worker.start()
        self.worker.add("bad")
        self.assertTrue(self.worker.flush(PATIENCE_S))
        self.worker.add("good")
        self.assertTrue(self.worker.flush(PATIENCE_S))
        self.assertEqual(self.done, ["bad", "good"])

    def test_a_stop_waits_for_the_items(self) -> None:
        self.gate.set()
        self.worker.start()
        self.worker.start()
        self.worker.add("a")
        self.worker.stop(PATIENCE_S)
        self.assertEqual(self.done, ["a"])
        self.assertFalse(self.worker.is_running)

    def test_a_stop_loses_nothing_that_other_threads_add_meanwhile(self) -> None:
        self.gate.set()
        self.worker.start()
        wait = self.worker._idle.wait

        def wait_and_add(timeout: float | None = None) -> bool:
            is_idle = wait(timeout)
            self.worker.add("late")
            return is_idle

        self.patch(self.worker._idle, "wait", wait_and_add)
        self.worker.stop(PATIENCE_S)
        self.assertEqual(self.done, ["late"])

    def test_a_stop_does_not_wait_longer_for_a_blocked_thread(self) -> None:
        self.block()
        self.worker.stop(0.01)
        self.assertFalse(self.worker.is_running)

    def test_a_forked_process_has_no_thread_and_no_lock_of_another(self) -> None:
        self.block()
        self.worker.add("of the parent")
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        with self.worker._lock, self.worker._idle._cond, self.worker._wake._cond:
            pid = os.fork()
            if not pid:  # the child
                self.gate.set()
                self.done.clear()
                self.worker.add("of the child")
                os.write(writer, " ".join(self.done).encode())
                os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(os.read(reader, 100), b"of the child")
