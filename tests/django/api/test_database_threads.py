"""ain_database: a bounded pool of threads for coroutines."""

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django import db
from django.contrib.auth import get_user_model
from django.core.exceptions import SynchronousOnlyOperation
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import DatabaseQueueFull
from cluster.django.api.database_threads import DatabasePool, ain_database
from tests.django.site import load_database

WAIT_S = 60.0  # until a thread that will never come is given up


class Gate:
    """A function whose calls wait for the test."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        self.entered.release()
        assert self.open.wait(WAIT_S)
        return name


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.now = 0.0

    def run_with(self, pool: DatabasePool, test: Coroutine[Any, Any, None]) -> None:
        pool.start()
        try:
            asyncio.run(asyncio.wait_for(test, WAIT_S))
        finally:
            pool.stop()
        self.assertFalse([thread for thread in pool._pool.threads if thread.is_alive()])

    def test_result_and_error_of_another_thread(self) -> None:
        pool = DatabasePool(1, 1)

        def which(*args: Any, **kwargs: Any) -> Any:
            return threading.get_ident(), args, kwargs

        def fail() -> None:
            raise KeyError("a")

        def stop() -> None:
            raise StopIteration

        async def test() -> None:
            thread, args, kwargs = await ain_database(which, 1, b=2)
            self.assertNotEqual(thread, threading.get_ident())
            self.assertEqual((args, kwargs), ((1,), {"b": 2}))
            with self.assertRaises(KeyError):
                await ain_database(fail)
            with self.assertRaises(RuntimeError):
                await ain_database(stop)
            self.assertEqual(pool.active, 0)

        self.run_with(pool, test())
        self.assertEqual((pool.calls, pool.refused), (3, 0))

    def test_a_coroutine_is_not_for_threads(self) -> None:
        async def count() -> int:
            return 1

        async def test() -> None:
            for function in (count, lambda: count()):
                with self.assertRaises(TypeError):
                    await ain_database(function)

        asyncio.run(test())  # in a process that is no node
        self.run_with(DatabasePool(1, 1), test())

    def test_a_function_that_would_end_the_process_ends_nothing(self) -> None:
        pool = DatabasePool(1, 1)

        async def test() -> None:
            for end in (SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()):

                def fail(error: BaseException = end) -> None:
                    raise error

                with self.assertRaises(RuntimeError) as caught:
                    await asyncio.ensure_future(ain_database(fail))
                self.assertIn(type(end).__name__, str(caught.exception))
            self.assertEqual(await ain_database(lambda: 7), 7)

        self.run_with(pool, test())

    def test_context_goes_along(self) -> None:
        variable = contextvars.ContextVar("variable", default=0)

        async def test() -> None:
            variable.set(7)
            self.assertEqual(await ain_database(variable.get), 7)

        self.run_with(DatabasePool(1, 1), test())

    def test_more_than_the_queue_takes_is_refused_at_once(self) -> None:
        pool, gate = DatabasePool(1, 1, lambda: self.now), Gate()

        async def test() -> None:
            first = asyncio.create_task(pool.run(gate, "first"))
            await asyncio.to_thread(gate.entered.acquire)
            second = asyncio.create_task(pool.run(gate, "second"))
            await asyncio.sleep(0)
            self.assertEqual((pool.active, pool.queue_depth, pool.threads), (2, 1, 1))
            with self.assertRaises(DatabaseQueueFull):
                await pool.run(gate, "third")
            self.now = 2.0
            gate.open.set()
            self.assertEqual([await first, await second], ["first", "second"])

        self.run_with(pool, test())
        self.assertEqual(gate.begun, ["first", "second"])
        self.assertEqual((pool.refused, pool.calls, pool.waited), (1, 2, 2.0))

    def test_a_call_that_is_cancelled_while_it_waits_is_not_begun(self) -> None:
        pool, gate = DatabasePool(1, 5), Gate()

        async def test() -> None:
            first = asyncio.create_task(pool.run(gate, "first"))
            await asyncio.to_thread(gate.entered.acquire)
            second = asyncio.create_task(pool.run(gate, "second"))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
            gate.open.set()
            await first
            await pool.run(gate, "third")

        self.run_with(pool, test())
        self.assertEqual(gate.begun, ["first", "third"])

    def test_a_call_that_runs_when_the_loop_ends(self) -> None:
        pool, gate = DatabasePool(1, 1), Gate()

        async def test() -> None:
            task = asyncio.create_task(pool.run(gate, "left"))
            await asyncio.to_thread(gate.entered.acquire)
            task.cancel()

        pool.start()
        asyncio.run(test())
        thread = pool._pool.threads[0]
        pool.stop()
        self.assertTrue(thread.is_alive(), "stop must not wait for it")
        gate.open.set()
        pool._pool.stop()
        self.assertEqual(pool.active, 0)

    def test_stale_connections_are_closed_after_each_call(self) -> None:
        """CONN_MAX_AGE is 0: a connection is not kept for the next call, nor left in the thread."""

        def is_open() -> bool:
            return db.connection.connection is not None

        def query() -> bool:
            get_user_model().objects.count()
            return is_open()

        async def test() -> None:
            self.assertTrue(await ain_database(query))
            self.assertFalse(await ain_database(is_open))

        self.run_with(DatabasePool(1, 1), test())


class AsyncOrmTests(SynchronousTestCase):
    """Django's own coroutines, which go through a thread of asgiref's."""

    def test_a_connection_that_broke_is_not_used_again(self) -> None:
        load_database()
        users = get_user_model().objects

        def connected() -> Any:
            return db.connection.connection

        def break_it() -> None:
            db.connection.errors_occurred = True
            db.connection.is_usable = lambda: False  # type: ignore[method-assign]

        async def test() -> None:
            self.assertIsInstance(await users.acount(), int)
            first = await sync_to_async(connected)()
            self.assertIsInstance(await users.acount(), int)
            self.assertIs(await sync_to_async(connected)(), first)
            self.assertIsNotNone(first, "kept between two calls")
            await sync_to_async(break_it)()
            self.assertIsInstance(await users.acount(), int)
            self.assertIsNot(await sync_to_async(connected)(), first)

        before = SyncToAsync.single_thread_executor
        pool = DatabasePool(1, 1)
        pool.start()
        asyncio.run(test())
        pool.stop()
        self.assertIs(SyncToAsync.single_thread_executor, before)


class NoNodeTests(SynchronousTestCase):
    """A test or a command: where Django's own sync_to_async would run it."""

    def test_it_runs(self) -> None:
        load_database()

        async def test() -> int:
            return await ain_database(get_user_model().objects.count)

        self.assertIsInstance(asyncio.run(test()), int)

    def test_the_orm_on_the_reactor_thread_is_refused_by_django(self) -> None:
        load_database()

        async def test() -> None:
            get_user_model().objects.count()

        self.assertRaises(SynchronousOnlyOperation, asyncio.run, test())
