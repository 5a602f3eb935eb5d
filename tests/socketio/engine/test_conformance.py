"""The cases of the public conformance suite of Engine.IO 4, at the level of bytes."""

import json
from typing import Any

from tests.socketio.engine.engine_site import INTERVAL, TIMEOUT, EngineTestCase

OPEN = {"upgrades", "pingInterval", "pingTimeout", "maxPayload", "sid"}


class HandshakeTests(EngineTestCase):
    def check(self, packet: str, upgrades: list[str]) -> None:
        self.assertTrue(packet.startswith("0"))
        value: dict[str, Any] = json.loads(packet[1:])
        self.assertEqual(value.keys(), OPEN)
        self.assertRegex(value.pop("sid"), r"^[A-Za-z0-9_-]{20}$")
        self.assertEqual(
            value,
            {
                "upgrades": upgrades,
                "pingInterval": 300,
                "pingTimeout": 200,
                "maxPayload": 1_000_000,
            },
        )

    def test_polling(self) -> None:
        async def test() -> None:
            response = (await self.ask()).response
            self.assertEqual(response.status, 200)
            self.check(response.body.decode(), ["websocket"])
            self.assertEqual(self.app.events, ["open"])

        self.run_async(test)

    def test_websocket(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            (packet,) = socket.messages
            self.check(str(packet), [])

        self.run_async(test)

    def test_invalid_parameters(self) -> None:
        async def test() -> None:
            for query, code in (
                ("transport=NAME", 5),
                ("EIO=abc&transport=NAME", 5),
                ("EIO=3&transport=NAME", 5),
                ("EIO=4", 0),
                ("EIO=4&transport=abc", 0),
                ("EIO=4&transport=", 0),
                ("EIO=4&transport=NAME&sid=unknown", 1),
            ):
                response = (await self.ask(query.replace("NAME", "polling"))).response
                self.assertEqual((response.status, response.error), (400, code), query)
                socket = await self.socket(query.replace("NAME", "websocket"))
                self.assertEqual((socket.refusal.status, socket.refusal.error), (400, code), query)
                self.assertTrue(socket.transport.disconnecting)

        self.run_async(test)

    def test_invalid_methods(self) -> None:
        async def test() -> None:
            for method in ("POST", "PUT", "DELETE"):
                response = (await self.ask(method=method, body=b"")).response
                self.assertEqual((response.status, response.error), (400, 2))
            sid = await self.open()
            query = f"EIO=4&transport=polling&sid={sid}"
            response = (await self.ask(query, method="PUT", body=b"")).response
            self.assertEqual((response.status, response.error), (400, 3))

        self.run_async(test)


class MessageTests(EngineTestCase):
    def test_polling(self) -> None:
        async def test() -> None:
            for body in ("4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4é€"):
                sid = await self.open()
                posted = (await self.post(sid, body)).response
                self.assertEqual((posted.status, posted.body), (200, b"ok"))
                polled = (await self.get(sid)).response
                self.assertEqual((polled.status, polled.body.decode()), (200, body))
                self.assertEqual(polled.headers["content-type"], "text/plain; charset=UTF-8")
                self.assertEqual(polled.headers["cache-control"], "no-store")

        self.run_async(test)

    def test_a_get_waits_for_a_packet(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            self.assertTrue(waiting.is_waiting)
            await self.post(sid, "4one\x1e4two")
            self.assertEqual(waiting.response.body, b"4one\x1e4two")

        self.run_async(test)

    def test_invalid_payloads(self) -> None:
        async def test() -> None:
            for body in ("abc", "", "4a\x1e", "b=!", b"4\xff", "7", "0", "5", "4ok\x1ex"):
                sid = await self.open()
                self.assertEqual((await self.post(sid, body)).response.status, 400, body)
                self.assertEqual(self.app.events[-1], ("closed", "parse error"))
                response = (await self.get(sid)).response
                self.assertEqual((response.status, response.error), (400, 1))

        self.run_async(test)

    def test_two_gets(self) -> None:
        async def test() -> None:
            sid = await self.open()
            first, second = await self.get(sid), await self.get(sid)
            self.assertEqual((first.response.status, first.response.body), (200, b"1"))
            self.assertEqual(second.response.status, 400)
            self.assertEqual((await self.get(sid)).response.status, 400)

        self.run_async(test)

    def test_two_posts(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            self.app.clients[0].pause("test")
            first, second = await self.post(sid, "4a"), await self.post(sid, "4b")
            self.assertEqual(second.response.status, 400)
            self.assertEqual(waiting.response.body, b"1")
            self.app.clients[0].resume("test")
            await self.settle()
            self.assertEqual(first.response.status, 200)
            self.assertEqual((await self.get(sid)).response.status, 400)
            self.assertEqual(self.app.events, ["open", ("closed", "transport error")])

        self.run_async(test)

    def test_a_get_whose_client_leaves(self) -> None:
        async def test() -> None:
            sid = await self.open()
            await (await self.get(sid)).lose()
            self.assertEqual((await self.get(sid)).response.status, 400)

        self.run_async(test)

    def test_websocket(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            await socket.send("4hello", b"\1\2\3\4", "4é€")
            self.assertEqual(socket.messages[1:], ["4hello", b"\1\2\3\4", "4é€"])

        self.run_async(test)

    def test_invalid_websocket_packets(self) -> None:
        async def test() -> None:
            for packet in ("abc", "", "7", "0", "5"):
                socket = await self.socket()
                await socket.send(packet)
                self.assertEqual(socket.messages[-1], (1000, ""), packet)
                self.assertEqual(self.app.events[-1], ("closed", "parse error"))
                await socket.lose()

        self.run_async(test)


class HeartbeatTests(EngineTestCase):
    def test_polling(self) -> None:
        async def test() -> None:
            sid = await self.open()
            for _ in range(3):
                waiting = await self.get(sid)
                await self.wait(INTERVAL - 0.001)
                self.assertTrue(waiting.is_waiting)
                await self.wait(0.001)
                self.assertEqual(waiting.response.body, b"2")
                await self.wait(TIMEOUT - 0.001)
                self.assertEqual((await self.post(sid, "3")).response.status, 200)

        self.run_async(test)

    def test_polling_without_a_pong(self) -> None:
        async def test() -> None:
            sid = await self.open()
            await self.wait(INTERVAL)
            await self.wait(TIMEOUT)
            self.assertEqual((await self.get(sid)).response.status, 400)
            self.assertEqual(self.app.events, ["open", ("closed", "ping timeout")])

        self.run_async(test)

    def test_websocket(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            for count in range(1, 4):
                await self.wait(INTERVAL)
                self.assertEqual(socket.messages[1:], ["2"] * count)
                await self.wait(TIMEOUT - 0.001)
                await socket.send("3")

        self.run_async(test)

    def test_websocket_without_a_pong(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            await self.wait(INTERVAL)
            await self.wait(TIMEOUT)
            self.assertEqual(socket.messages[1:], ["2", (1000, "")])
            self.assertEqual(self.app.events, ["open", ("closed", "ping timeout")])

        self.run_async(test)

    def test_the_client_may_ping_too(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            await socket.send("2data")
            self.assertEqual(socket.messages[1:], ["3data"])

        self.run_async(test)

    def test_other_packets_show_that_the_client_is_alive(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            await self.wait(INTERVAL)
            await socket.send("4hello")
            await self.wait(TIMEOUT)
            await self.wait(INTERVAL - TIMEOUT)
            self.assertEqual(socket.messages[1:], ["2", "4hello", "2"])
            await self.wait(TIMEOUT)
            self.assertEqual(socket.messages[-1], (1000, ""))

        self.run_async(test)


class CloseTests(EngineTestCase):
    def test_polling(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            self.assertEqual((await self.post(sid, "1")).response.body, b"ok")
            self.assertEqual((waiting.response.status, waiting.response.body), (200, b"6"))
            self.assertEqual((await self.get(sid)).response.status, 400)
            self.assertEqual(self.app.events, ["open", ("closed", "transport close")])

        self.run_async(test)

    def test_websocket(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            await socket.send("1")
            self.assertEqual(socket.messages[1:], [(1000, "")])
            self.assertEqual(self.app.events, ["open", ("closed", "transport close")])

        self.run_async(test)

    def test_a_websocket_that_is_lost(self) -> None:
        async def test() -> None:
            await (await self.socket()).lose()
            self.assertEqual(self.app.events, ["open", ("closed", "transport close")])

        self.run_async(test)


class UpgradeTests(EngineTestCase):
    def test_upgrade(self) -> None:
        async def test() -> None:
            sid = await self.open()
            socket = await self.upgrade(sid)
            self.assertTrue(socket.is_open)
            await socket.send("2probe")
            self.assertEqual(socket.messages, ["3probe"])
            self.assertEqual((await self.get(sid)).response.body, b"6")
            await socket.send("5")
            await socket.send("4hello")
            self.assertEqual(socket.messages, ["3probe", "4hello"])

        self.run_async(test)

    def test_a_get_that_waits_when_the_probe_comes(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            socket = await self.upgrade(sid)
            self.assertTrue(waiting.is_waiting)
            await socket.send("2probe")
            self.assertEqual(waiting.response.body, b"6")

        self.run_async(test)

    def test_nothing_is_lost_or_reordered(self) -> None:
        async def test() -> None:
            sid = await self.open()
            socket = await self.upgrade(sid)
            await self.post(sid, "4one")
            await socket.send("2probe")
            await self.post(sid, "4two")
            self.assertEqual((await self.get(sid)).response.body, b"6")
            await socket.send("5", "4three")
            self.assertEqual(socket.messages, ["3probe", "4one", "4two", "4three"])

        self.run_async(test)

    def test_requests_after_the_upgrade(self) -> None:
        async def test() -> None:
            sid = await self.open()
            socket = await self.upgrade(sid)
            await socket.send("2probe", "5")
            for response in (
                (await self.get(sid)).response,
                (await self.post(sid, "4x")).response,
                (await self.upgrade(sid)).refusal,
            ):
                self.assertEqual((response.status, response.error), (400, 3))
            await socket.send("4hello")
            self.assertEqual(socket.messages, ["3probe", "4hello"])

        self.run_async(test)

    def test_a_second_websocket_during_the_upgrade(self) -> None:
        async def test() -> None:
            sid = await self.open()
            socket = await self.upgrade(sid)
            self.assertEqual((await self.upgrade(sid)).refusal.error, 3)
            await socket.send("2probe", "5", "4hello")
            self.assertEqual(socket.messages, ["3probe", "4hello"])

        self.run_async(test)

    def test_upgrades_that_fail(self) -> None:
        """The session stays on polling, and what was held is delivered there."""

        async def test() -> None:
            for fault in ("4x", "5", "2prob", "abc", b"binary", "", "lose", "time"):
                sid = await self.open()
                client = self.app.clients[-1]
                socket = await self.upgrade(sid)
                if fault != "5":
                    await socket.send("2probe")
                await self.post(sid, "4held")
                if fault == "lose":
                    await socket.lose()
                elif fault == "time":
                    for _ in range(36):
                        await self.wait(INTERVAL)
                        await self.post(sid, "3")
                    self.assertEqual(socket.messages[-1], (1000, ""))
                else:
                    await socket.send(fault)
                    self.assertEqual(socket.messages[-1], (1000, ""), fault)
                self.assertTrue(client.is_open)
                self.assertTrue((await self.get(sid)).response.body.startswith(b"4held"), fault)
                again = await self.upgrade(sid)
                await again.send("2probe", "5", "4again")
                self.assertEqual(again.messages[0], "3probe")
                self.assertEqual(again.messages[-1], "4again")

        self.run_async(test)

    def test_a_session_of_a_websocket_cannot_be_upgraded(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            sid = json.loads(str(socket.messages[0])[1:])["sid"]
            self.assertEqual((await self.upgrade(sid)).refusal.error, 3)
            self.assertEqual((await self.get(sid)).response.error, 3)

        self.run_async(test)
