"""A reactor's calls on an event loop."""

import asyncio
import threading

from twisted.trial.unittest import SynchronousTestCase

from cluster.testing import asynchronous
from cluster.testing.loop_reactor import LoopReactor


class LoopReactorTests(SynchronousTestCase):
    @asynchronous
    async def test_calls_that_are_due_keep_their_order(self) -> None:
        reactor = LoopReactor(asyncio.get_running_loop())
        made: list[int] = []
        calls = [reactor.callLater(0, made.append, number) for number in range(100)]
        calls[50].cancel()
        self.assertEqual([], made)
        await asyncio.sleep(0)
        self.assertEqual([number for number in range(100) if number != 50], made)
        self.assertFalse(any(call.active() for call in calls))

    @asynchronous
    async def test_later(self) -> None:
        reactor = LoopReactor(asyncio.get_running_loop())
        done = asyncio.Event()
        call = reactor.callLater(3600, done.set)
        self.assertTrue(call.active())
        self.assertTrue(3590 < call.getTime() - reactor.seconds() <= 3600)
        call.reset(0.001)
        await asyncio.wait_for(done.wait(), 10)
        self.assertFalse(call.active())
        call.cancel()

    @asynchronous
    async def test_time_and_threads(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        reactor = LoopReactor(loop)
        self.assertTrue(0 <= reactor.seconds() - before < 60)
        ident: asyncio.Future[int] = loop.create_future()
        await asyncio.to_thread(
            reactor.callFromThread, lambda: ident.set_result(threading.get_ident())
        )
        self.assertEqual(threading.get_ident(), await ident)
