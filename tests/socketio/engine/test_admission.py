"""Who may begin a session, and the answers to those who may not."""

import asyncio
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.contrib.auth.models import User  # noqa: E402 - models want settings first

from cluster.django.revocation.revocable_clients import CLOSE_REVOKED, revocable_clients, sign  # noqa: E402
from cluster.socketio.engine.options import EngineOptions  # noqa: E402
from cluster.socketio.engine.registry import sessions  # noqa: E402
from cluster.testing.cookies import cookie_header, log_in  # noqa: E402
from tests.socketio.engine.engine_site import EngineTestCase  # noqa: E402

PREFLIGHT = "Access-Control-Request-Method: POST"


class RecognitionTests(EngineTestCase):
    def test_other_requests_reach_the_views(self) -> None:
        async def test() -> None:
            for query, path in (
                ("", "/engine.io/"),
                ("EIO=4&transport=polling", "/plain/"),
                ("EIO=4&transport=polling", "/nothing/"),
                ("EIO=4&transport=polling", "/%ff"),
            ):
                exchange = await self.ask(query, path=path)
                self.assertEqual(exchange.response.body, b"a view\n", path)

        self.run_async(test)

    def test_a_session_of_another_url(self) -> None:
        async def test() -> None:
            sid = await self.open()
            response = (await self.get(sid, path="/polling/")).response
            self.assertEqual((response.status, response.error), (400, 1))
            waiting = await self.get(sid, path="/engine%2Eio/")
            self.assertTrue(waiting.is_waiting)

        self.run_async(test)

    def test_a_server_without_websockets(self) -> None:
        async def test() -> None:
            response = (await self.ask(path="/polling/")).response
            self.assertIn(b'"upgrades":[]', response.body)
            socket = await self.socket(path="/polling/")
            self.assertEqual((socket.refusal.status, socket.refusal.error), (400, 0))

        self.run_async(test)

    def test_a_websocket_transport_without_a_websocket(self) -> None:
        async def test() -> None:
            response = (await self.ask("EIO=4&transport=websocket")).response
            self.assertEqual((response.status, response.error), (400, 3))
            socket = await self.socket("EIO=4&transport=polling")
            self.assertEqual((socket.refusal.status, socket.refusal.error), (400, 3))

        self.run_async(test)

    def test_options_that_are_wrong(self) -> None:
        for wrong in (
            {"ping_interval": 0},
            {"max_payload": -1},
            {"transports": ()},
            {"transports": ("webtransport",)},
        ):
            options: dict[str, Any] = wrong
            self.assertRaises(ValueError, EngineOptions, **options)


class OriginTests(EngineTestCase):
    settings = {"ALLOWED_ORIGINS": ["https://app.example"]}  # noqa: RUF012

    def test_hosts_and_pages_that_are_refused(self) -> None:
        async def test() -> None:
            sid = await self.open()
            for how in (
                {"host": "evil.example"},
                {"headers": ("Origin: http://evil.example",)},
                {"headers": ("Origin: null",)},
                {"headers": ("Sec-Fetch-Site: cross-site",)},
            ):
                given: dict[str, Any] = {"headers": (), **how}
                headers = given.pop("headers")
                for exchange in (
                    await self.ask("EIO=4&transport=polling", *headers, **given),
                    await self.get(sid, *headers, **given),
                    await self.post(sid, "4x", *headers, **given),
                    await self.ask(
                        "EIO=4&transport=polling", PREFLIGHT, *headers, method="OPTIONS", **given
                    ),
                ):
                    response = exchange.response
                    self.assertIn((response.status, response.error), ((400, 3), (403, 4)))
                    self.assertNotIn("access-control-allow-origin", response.headers)
            self.assertEqual(self.app.events, ["open"])

        self.run_async(test)

    def test_pages_that_are_allowed(self) -> None:
        async def test() -> None:
            sid = await self.open()
            origin = "Origin: https://app.example"
            for exchange in (
                await self.ask("EIO=4&transport=polling", origin),
                await self.post(sid, "4x", origin),
                await self.get(sid, origin),
                await self.ask("EIO=4&transport=polling&sid=unknown", origin),
            ):
                headers = exchange.response.headers
                self.assertEqual(headers["access-control-allow-origin"], "https://app.example")
                self.assertEqual(headers["access-control-allow-credentials"], "true")
                self.assertEqual(headers["vary"], "Origin")

        self.run_async(test)

    def test_preflights(self) -> None:
        async def test() -> None:
            response = (
                await self.ask(
                    "EIO=4&transport=polling",
                    "Origin: https://app.example",
                    PREFLIGHT,
                    "Access-Control-Request-Headers: content-type,x-token",
                    method="OPTIONS",
                )
            ).response
            self.assertEqual((response.status, response.body), (204, b""))
            self.assertEqual(response.headers["access-control-allow-methods"], "GET, POST")
            self.assertEqual(
                response.headers["access-control-allow-headers"], "content-type,x-token"
            )
            self.assertNotIn("content-length", response.headers)

        self.run_async(test)


class AllowTests(EngineTestCase):
    def test_the_function_decides_once(self) -> None:
        async def test() -> None:
            self.database()
            sid = await self.open("/guarded/", "&auth=yes")
            self.assertTrue((await self.get(sid, path="/guarded/")).is_waiting)
            socket = await self.socket(f"EIO=4&transport=websocket&sid={sid}", path="/guarded/")
            await socket.send("2probe", "5", "4a")
            self.assertEqual(socket.messages, ["3probe", "4a"])
            direct = await self.socket("EIO=4&transport=websocket&auth=yes", path="/guarded/")
            self.assertTrue(direct.is_open)

        self.run_async(test)

    def test_refusals(self) -> None:
        async def test() -> None:
            self.database()
            for auth, status, body in (
                ("no", 403, b'{"code":4,"message":"Forbidden"}'),
                ("pay", 402, b"pay first"),
                ("bug", 500, b'{"code":3,"message":"internal error"}'),
            ):
                query = f"EIO=4&transport=polling&auth={auth}"
                response = (await self.ask(query, path="/guarded/")).response
                self.assertEqual((response.status, response.body), (status, body))
            socket = await self.socket("EIO=4&transport=websocket", path="/guarded/")
            self.assertEqual((socket.refusal.status, socket.refusal.error), (403, 4))
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
            self.assertEqual(sessions.refused, {"403": 1, "500": 1, "4": 1})
            self.assertEqual(self.app.events, [])

        self.run_async(test)

    def database(self) -> None:
        """Run what would block in this thread."""
        from cluster.socketio.engine import server
        from tests.socketio.engine import engine_site

        async def call(function: Any, request: Any, args: Any, kwargs: Any) -> Any:
            result = function(request, *args, **kwargs)
            return await result if asyncio.iscoroutine(result) else result

        self.patch(server, "call_permission", call)
        from cluster.django.handshake import admission

        self.patch(admission, "call_permission", call)
        self.assertTrue(engine_site.guarded.allow)


class LimitTests(EngineTestCase):
    settings = {"MAX_CONNECTIONS_PER_CLIENT": 2, "MAX_CONNECTIONS": 3}  # noqa: RUF012

    def test_sessions_of_one_client(self) -> None:
        async def test() -> None:
            for _ in range(2):
                await self.open(address="192.0.2.1")
            response = (await self.ask(address="192.0.2.1")).response
            self.assertEqual((response.status, response.error), (429, 3))
            self.assertEqual(response.headers["retry-after"], "5")
            await self.open(address="192.0.2.2")
            response = (await self.ask(address="192.0.2.3")).response
            self.assertEqual(response.status, 503)
            self.app.clients[0].close()
            await self.open(address="192.0.2.1")

        self.run_async(test)

    def test_a_node_that_stops(self) -> None:
        async def test() -> None:
            sid = await self.open()
            self.is_serving = False
            self.assertEqual((await self.ask()).response.status, 503)
            self.assertEqual((await self.socket()).refusal.status, 503)
            self.assertTrue((await self.get(sid)).is_waiting)

        self.run_async(test)


class UserTests(EngineTestCase):
    settings = {"MAX_CONNECTIONS_PER_USER": 1}  # noqa: RUF012

    def test_users(self) -> None:
        load_database()
        user = User.objects.get_or_create(username="polling")[0]
        cookies = f"Cookie: {cookie_header(log_in(user, None))}"

        async def test() -> None:
            self.database()
            exchange = await self.ask("EIO=4&transport=polling", cookies)
            self.assertEqual(exchange.response.status, 200)
            (client,) = self.app.clients
            self.assertEqual((client.request.user, client.request.user_name), (user, "polling"))
            again = (await self.ask("EIO=4&transport=polling", cookies)).response
            self.assertEqual(again.status, 429)
            # The WebSocket takes the place of the session over polling.
            query = f"EIO=4&transport=websocket&sid={client.sid}"
            socket = await self.socket(query, cookies)
            self.assertTrue(socket.is_open)
            await socket.lose()
            again = (await self.ask("EIO=4&transport=polling", cookies)).response
            self.assertEqual(again.status, 429)
            socket = await self.socket(query, cookies)
            await socket.send("2probe", "5", "4a")
            self.assertEqual(socket.messages, ["3probe", "4a"])
            again = (await self.ask("EIO=4&transport=polling", cookies)).response
            self.assertEqual(again.status, 429)
            self.assertEqual((await self.socket(query="EIO=4&transport=websocket")).is_open, True)
            # A logout closes it for good.
            revocable_clients.take(sign({"user": str(user.pk)}))
            await self.settle()
            self.assertEqual(socket.messages[2:], ["41", (CLOSE_REVOKED, "the session has ended")])
            self.assertEqual(self.app.events[-1], ("closed", "forced close"))

        self.run_async(test)

    def test_a_logout_over_polling(self) -> None:
        load_database()
        user = User.objects.get_or_create(username="polling")[0]
        cookies = f"Cookie: {cookie_header(log_in(user, None))}"

        async def test() -> None:
            self.database()
            await self.ask("EIO=4&transport=polling", cookies)
            (client,) = self.app.clients
            revocable_clients.take(sign({"user": str(user.pk)}))
            response = (await self.get(client.sid)).response
            self.assertEqual((response.status, response.body), (200, b"41"))
            # Alone: socket.io-client closes before it decodes what is in the same payload.
            response = (await self.get(client.sid)).response
            self.assertEqual((response.status, response.body), (200, b"1"))
            self.assertEqual((await self.get(client.sid)).response.status, 400)

        self.run_async(test)

    def database(self) -> None:
        """Run what would block in this thread."""
        from cluster.django.handshake import admission

        self.patch(admission, "ain_database", asyncio.to_thread)
