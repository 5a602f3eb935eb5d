"""Waking many coroutines."""

import asyncio

from twisted.trial.unittest import TestCase

from cluster.channels.waiting import WAKES_A_TURN, wake
from cluster.testing import asynchronous


class WakeTests(TestCase):
    @asynchronous
    async def test_a_part_in_each_turn(self) -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(3 * WAKES_A_TURN)]
        futures[1].cancel()
        wake([(loop, future) for future in futures])
        for turn in range(1, 4):
            done = sum(future.done() for future in futures)
            self.assertIn(done - turn * WAKES_A_TURN, (0, 1))
            await asyncio.sleep(0)
        self.assertTrue(all(future.done() for future in futures))

    @asynchronous
    async def test_a_loop_that_is_closed(self) -> None:
        closed = asyncio.new_event_loop()
        future = closed.create_future()
        closed.close()
        here = asyncio.get_running_loop().create_future()
        wake([(closed, future), (asyncio.get_running_loop(), here)])
        self.assertTrue(here.done())
