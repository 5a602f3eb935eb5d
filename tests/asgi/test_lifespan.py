"""Tests of cluster.asgi.lifespan."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi.lifespan import Lifespans, StartupFailed
from cluster.asgi.scope import Application
from cluster.asgi.urlconf import Mount
from tests.django.site import load_site


class LifespanTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.events: list[Any] = []

    def lifespans(self, *applications: Application) -> Lifespans:
        self.mounts = [Mount(application) for application in applications]
        return Lifespans(self.mounts)

    async def usual(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append((scope["type"], scope["asgi"]))
        for _ in range(2):
            kind = (await receive())["type"]
            self.events.append(kind)
            scope["state"]["pool"] = "open"
            await send({"type": f"{kind}.complete"})

    def test_start_and_shutdown(self) -> None:
        async def test() -> None:
            lifespans = self.lifespans(self.usual)
            await lifespans.startup()
            self.assertEqual(self.mounts[0].state, {"pool": "open"})
            self.assertEqual(len(self.events), 2)
            await lifespans.shutdown(60)

        asyncio.run(test())
        begun = ("lifespan", {"version": "3.0", "spec_version": "2.0"})
        self.assertEqual(self.events, [begun, "lifespan.startup", "lifespan.shutdown"])

    def test_an_application_at_two_places_starts_once(self) -> None:
        async def test() -> None:
            application = self.usual
            lifespans = self.lifespans(application, application)
            await lifespans.startup()
            self.assertIs(self.mounts[0].state, self.mounts[1].state)
            await lifespans.shutdown(60)

        asyncio.run(test())
        self.assertEqual(len(self.events), 3)

    def test_one_that_cannot_start(self) -> None:
        async def fails(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        async def test() -> None:
            await self.lifespans(self.usual, fails).startup()

        with self.assertRaisesRegex(StartupFailed, "no database"):
            asyncio.run(test())

    def test_one_without_a_lifespan_is_served(self) -> None:
        async def only_http(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("only HTTP")

        async def exits(scope: Any, receive: Any, send: Any) -> None:
            raise SystemExit(1)

        async def silent(scope: Any, receive: Any, send: Any) -> None:
            pass

        async def answers(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})

        async def test() -> None:
            lifespans = self.lifespans(only_http, exits, silent, answers)
            await lifespans.startup()
            await lifespans.shutdown(60)

        asyncio.run(test())

    def test_one_that_does_not_shut_down_is_cancelled(self) -> None:
        async def hangs(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            try:
                await asyncio.Event().wait()
            finally:
                self.events.append("cancelled")

        async def test() -> None:
            lifespans = self.lifespans(hangs)
            await lifespans.startup()
            await lifespans.shutdown(0.01)
            await asyncio.sleep(0)

        asyncio.run(test())
        self.assertEqual(self.events, ["cancelled"])

    def test_an_error_after_the_start_is_logged(self) -> None:
        async def fails(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            raise KeyError("later")

        async def test() -> None:
            lifespans = self.lifespans(fails)
            await lifespans.startup()
            await lifespans.shutdown(60)

        asyncio.run(test())
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
