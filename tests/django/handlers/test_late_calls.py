"""A handler that still uses its WebSocket after the client is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher

from cluster.core.exceptions import Disconnected
from cluster.django.handlers import late_calls
from cluster.logs.rate_limit import LimitedLog
from tests.django.handlers.test_websocket import ConnectionTestCase


class LateCallsTests(ConnectionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        # That of the process logs a few of each handler in a while.
        self.patch(late_calls, "_log_cancelled", LimitedLog(Logger().warn, "handlers"))
        self.caught = 0

    def log(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))

    async def stubborn(self, call: Callable[[], Awaitable[Any]], seldom: bool) -> None:
        """What handlers look like that catch too much."""
        while True:
            try:
                await call()
            except Exception:
                self.caught += 1
                if self.caught > 1000:
                    raise SystemExit("nothing else could run") from None
                if seldom:
                    await asyncio.sleep(0)

    def run_stubborn(self, call: Callable[[], Awaitable[Any]], seldom: bool = False) -> list[int]:
        """Run such a handler to its end; how often it had caught an error when others ran."""
        others: list[int] = []

        async def other() -> None:
            while True:
                others.append(self.caught)
                await asyncio.sleep(0)

        async def run() -> None:
            handler = asyncio.create_task(self.stubborn(call, seldom), name="chat.handlers.chat")
            self.ws.task = handler
            counting = asyncio.create_task(other())
            self.ws.connection_closed(1006)
            await asyncio.wait([handler])
            counting.cancel()
            self.assertTrue(handler.cancelled())

        asyncio.run(run())
        return others

    def assert_one_line(self) -> None:
        (line,) = self.logged
        self.assertTrue(line.startswith("chat.handlers.chat was cancelled: "), line)
        self.assertIn("tcp4:127.0.0.1:4000", line)

    def test_others_run_between_the_calls(self) -> None:
        others = self.run_stubborn(self.ws.recv)
        self.assertEqual(self.caught, late_calls.MAX_CALLS)
        steps = [later - earlier for earlier, later in pairwise(others)]
        self.assertLessEqual(max(steps), 2)
        self.assert_one_line()

    def test_every_call_that_raises(self) -> None:
        for call in (
            lambda: self.ws.recv_json(),
            lambda: self.ws.send("x"),
            lambda: self.ws.send_json("x"),
            lambda: self.ws.barrier("b", 2),
        ):
            self.setUp()
            self.run_stubborn(call)
            self.assert_one_line()

    def test_iterations_without_end(self) -> None:
        async def all_messages() -> None:
            async for _ in self.ws:
                pass
            self.caught += 1
            assert self.caught <= 1000, "nothing else could run"

        self.run_stubborn(all_messages)
        self.assert_one_line()

    def test_one_that_seldom(self) -> None:
        self.patch(late_calls, "MAX_S", 0.0)
        self.run_stubborn(self.ws.recv, seldom=True)
        self.assertEqual(self.caught, 1)
        self.assert_one_line()

    def test_one_that_ends_is_not_disturbed(self) -> None:
        """It may try to send something more, in its clean-up."""

        async def run() -> None:
            self.ws.connection_closed(1001)
            for _ in range(late_calls.MAX_CALLS):
                with self.assertRaises(Disconnected) as raised:
                    await self.ws.send("bye")
                self.assertEqual(raised.exception.code, 1001)

        asyncio.run(run())
        self.assertEqual(self.logged, [])

    def test_one_that_is_cancelled_without_success_is_slowed_down(self) -> None:
        self.patch(late_calls, "PAUSE_S", 0.001)

        async def run() -> None:
            self.ws.connection_closed(1006)
            loop = asyncio.get_running_loop()
            cancelled = False
            while not cancelled:
                try:
                    await self.ws.recv()
                except asyncio.CancelledError:
                    cancelled = True
                except Disconnected:
                    pass
            began = loop.time()
            with self.assertRaises(Disconnected):
                await self.ws.recv()
            self.assertGreaterEqual(loop.time() - began, 0.001)

        asyncio.run(run())
        self.assertEqual(len(self.logged), 1)
