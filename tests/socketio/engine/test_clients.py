"""What a session does under load, and how it ends."""

import gc

from cluster.django.handlers.websocket import WebSocket
from cluster.socketio.engine import registry
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.fan_out import send_to_all
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import FAREWELL_S, sessions
from tests.socketio.engine.engine_site import INTERVAL, TIMEOUT, EngineTestCase, text

BIG = text("x" * 60_000)


class SendTests(EngineTestCase):
    settings = {"SEND_QUEUE_HIGH_WATER": 100_000, "SEND_QUEUE_LOW_WATER": 1000}  # noqa: RUF012

    def test_messages_of_one_turn_are_one_response(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            (client,) = self.app.clients
            client.send(text("one"))
            client.send(OutPacket(b"451-[]", (b"\0",)))
            self.assertTrue(waiting.is_waiting)
            self.assertEqual(client.queued_bytes, 11)
            await self.settle()
            self.assertEqual(waiting.response.body, b"4one\x1e451-[]\x1ebAA==")
            self.assertEqual(client.queued_bytes, 0)

        self.run_async(test)

    def test_many_clients(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            socket, other = await self.socket(), await self.socket()
            packet = OutPacket(b"451-[]", (b"\0",))
            send_to_all(tuple(self.app.clients), packet)
            send_to_all(tuple(self.app.clients), text("two"))
            await self.settle()
            self.assertEqual(waiting.response.body, b"451-[]\x1ebAA==\x1e4two")
            for each in (socket, other):
                self.assertEqual(each.messages[1:], ["451-[]", b"\0", "4two"])

        self.run_async(test)

    def test_a_client_over_polling_that_does_not_read(self) -> None:
        async def test() -> None:
            sid = await self.open()
            (client,) = self.app.clients
            client.send(BIG)
            await self.settle()
            self.assertTrue(client.is_open)
            client.send(BIG)
            self.assertFalse(client.is_open)
            client.send(BIG)
            self.assertEqual(self.app.events, ["open", ("closed", "transport error")])
            self.assertEqual(sessions.dropped["slow_consumer"], 2)
            self.assertEqual((await self.get(sid)).response.body, b"1")

        self.run_async(test)

    def test_pings_of_a_client_that_does_not_read(self) -> None:
        """Of few bytes: the answers take more memory than they have bytes."""

        async def test(body: bytes) -> None:
            sid = await self.open()
            for _ in range(4):
                await self.post(sid, body)
            self.assertEqual(self.app.events, ["open", ("closed", "transport error")])
            self.assertGreater(sessions.dropped["slow_consumer"], 0)
            self.app.events.clear()

        async def both() -> None:
            await test(b"2" + b"x" * 60_000)
            await test(b"\x1e".join([b"2"] * 600))

        self.run_async(both)

    def test_pings_of_a_client_that_reads(self) -> None:
        async def test() -> None:
            sid = await self.open()
            for _ in range(4):
                await self.post(sid, b"\x1e".join([b"2"] * 600))
                self.assertEqual((await self.get(sid)).response.body.count(b"3"), 600)

        self.run_async(test)

    def test_the_last_packets_of_all_sessions_are_bounded(self) -> None:
        async def test() -> None:
            self.patch(registry, "MAX_FAREWELL_BYTES", 70_000)
            ids = [await self.open() for _ in range(3)]
            for client in self.app.clients:
                client.send(BIG)
                client.close()
            found = [(await self.get(sid)).response for sid in ids]
            self.assertEqual([each.status for each in found], [200, 400, 400])
            sid = await self.open()
            self.app.clients[-1].send(BIG)
            self.app.clients[-1].close()
            self.assertEqual((await self.get(sid)).response.status, 200)
            sid = await self.open()
            self.app.clients[-1].send(BIG)
            self.app.clients[-1].close()
            await self.wait(FAREWELL_S + 1)
            self.assertEqual(sessions._farewell_bytes, 0)

        self.run_async(test)

    def test_a_client_over_websocket_that_does_not_read(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            (client,) = self.app.clients
            socket.transport.producer.pauseProducing()
            for _ in range(3):
                client.send(BIG)
            await self.settle()
            self.assertEqual(self.app.events, ["open", ("closed", "transport error")])

        self.run_async(test)

    def test_volatile(self) -> None:
        async def test() -> None:
            sid = await self.open()
            (client,) = self.app.clients
            self.assertFalse(client.send_volatile(text("a")))
            waiting = await self.get(sid)
            self.assertTrue(client.send_volatile(text("b")))
            await self.settle()
            self.assertEqual(waiting.response.body, b"4b")
            socket = await self.socket()
            client = self.app.clients[1]
            self.assertTrue(client.send_volatile(text("c")))
            socket.transport.producer.pauseProducing()
            self.assertFalse(client.send_volatile(text("d")))
            self.assertEqual(sessions.dropped["volatile"], 2)

        self.run_async(test)

    def test_what_waits_when_a_client_is_gone_is_counted(self) -> None:
        async def test() -> None:
            sid = await self.open()
            (client,) = self.app.clients
            client.send(text("a"))
            await self.settle()
            client.send(text("b"))
            await self.post(sid, "x")
            self.assertEqual(sessions.dropped["disconnected"], 2)

        self.run_async(test)


class ReceiveTests(EngineTestCase):
    def test_a_body_that_is_too_large(self) -> None:
        async def test() -> None:
            sid = await self.open()
            self.assertEqual((await self.post(sid, b"4" + bytes(1_000_000))).response.status, 413)
            self.assertEqual(self.app.events, ["open", ("closed", "transport error")])
            sid = await self.open()
            body = b"4" + b"x" * 999_999
            self.assertEqual((await self.post(sid, body)).response.status, 200)

        self.run_async(test)

    def test_a_websocket_message_that_is_too_large(self) -> None:
        async def test() -> None:
            socket = await self.socket()
            size = (1_000_001).to_bytes(8, "big")
            socket.protocol.dataReceived(b"\x82\xff" + size + bytes(4))
            await self.settle()
            self.assertEqual(socket.messages[-1][0], 1009)

        self.run_async(test)

    def test_many_packets_take_several_turns(self) -> None:
        async def test() -> None:
            sid = await self.open()
            body = b"\x1e".join(b"4%d" % number for number in range(2500))
            self.budget.is_spent = lambda: len(self.app.events) % 10 == 1  # type: ignore[method-assign]
            turns = 0
            later = self.budget.later

            def count(work: object) -> None:
                nonlocal turns
                turns += 1
                later(work)  # type: ignore[arg-type]

            self.budget.later = count  # type: ignore[method-assign]
            posted = await self.post(sid, body)
            while posted.is_waiting:
                await self.settle()
            self.assertGreaterEqual(turns, 250)
            self.assertEqual(self.app.events[1:], [str(number) for number in range(2500)])
            self.assertEqual((await self.get(sid)).response.body, body)

        self.run_async(test)

    def test_a_client_that_is_paused(self) -> None:
        async def test() -> None:
            sid = await self.open()
            (client,) = self.app.clients
            client.pause("one")
            client.pause("two")
            posted = await self.post(sid, "4a\x1e4b")
            client.resume("one")
            await self.settle()
            self.assertTrue(posted.is_waiting)
            self.assertEqual(self.app.events, ["open"])
            await self.wait(0.3)  # a ping is due, and its answer cannot be read
            await self.wait(0.25)
            self.assertTrue(client.is_open)
            client.resume("two")
            await self.settle()
            self.assertEqual(posted.response.body, b"ok")
            self.assertEqual(self.app.events, ["open", "a", "b"])

        self.run_async(test)

    def test_a_pause_of_a_session_that_is_upgraded(self) -> None:
        async def test() -> None:
            sid = await self.open()
            (client,) = self.app.clients
            socket = await self.upgrade(sid)
            client.pause("test")
            await self.post(sid, "4a")
            await socket.send("2probe", "5", "4b")
            self.assertEqual(self.app.events, ["open"])
            client.resume("test")
            await self.settle()
            self.assertEqual(self.app.events, ["open", "a", "b"])
            self.assertEqual(socket.messages, ["3probe", "4a", "4b"])

        self.run_async(test)

    def test_errors_of_the_application(self) -> None:
        async def test() -> None:
            sid = await self.open()
            self.assertEqual((await self.post(sid, "4bug\x1e4next")).response.status, 200)
            self.assertEqual(self.app.events, ["open", "bug", ("closed", "transport error")])
            socket = await self.socket()
            await socket.send("4bug")
            self.assertEqual(socket.messages[-1], (1011, "internal error"))
            await socket.lose()
            self.assertEqual(self.app.events[-1], ("closed", "transport close"))
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

        self.run_async(test)


class RateTests(EngineTestCase):
    settings = {"MESSAGE_RATE": 1, "MESSAGE_BURST": 3}  # noqa: RUF012

    def test_messages_over_polling(self) -> None:
        async def test() -> None:
            sid = await self.open()
            await self.post(sid, "4a\x1e4b")
            await self.post(sid, "4c\x1e4d\x1e4e")
            self.assertEqual(self.app.events, ["open", "a", "b", "c", ("closed", "forced close")])
            assert self.dispatcher.rate is not None
            self.assertEqual(self.dispatcher.rate.closed_total, 1)

        self.run_async(test)


class EndTests(EngineTestCase):
    def test_the_server_closes(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            socket = await self.socket()
            for client in self.app.clients:
                client.send(text("last"))
                client.close()
                client.close()
            await self.settle()
            self.assertEqual(waiting.response.body, b"4last")
            self.assertEqual((await self.get(sid)).response.body, b"1")
            self.assertEqual(socket.messages[1:], ["4last", (1000, "")])
            self.assertEqual(self.app.events[2:], [("closed", "forced close")] * 2)
            self.assertEqual(sessions.closed["forced close"], 2)

        self.run_async(test)

    def test_last_packets_wait_for_some_time(self) -> None:
        async def test() -> None:
            sid = await self.open()
            self.app.clients[0].close()
            await self.wait(FAREWELL_S + 1)
            self.assertEqual((await self.get(sid)).response.status, 400)

        self.run_async(test)

    def test_no_reference_cycle_is_left_of_a_client(self) -> None:
        """Thousands would wait for the garbage collection."""

        async def test() -> None:
            for _ in range(2):
                await self.post(await self.open(), "1")
                await (await self.socket()).lose()
            await self.open()
            await self.wait(INTERVAL)
            await self.wait(TIMEOUT)  # for the answer to the ping
            self.assertEqual(sessions.clients, {})
            self.assertEqual(len(self.app.clients), 5)
            self.app.clients.clear()
            kinds = (EngineClient, WebSocket)
            left = [each for each in gc.get_objects() if isinstance(each, kinds)]
            self.assertEqual(left, [])

        gc.collect()
        self.addCleanup(gc.enable)
        gc.disable()
        self.run_async(test)

    def test_the_node_stops(self) -> None:
        """Clients connect again, so the application sends no last packets."""

        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            socket = await self.socket()
            for polling in self.requests.open_clients:
                polling.close(1001, "the server is going away")
            for connection in list(self.factory.connections):
                connection.close(1012, "the server is restarting")
            await self.settle()
            self.assertEqual(waiting.response.body, b"1")
            self.assertEqual(socket.messages[1:], [(1012, "the server is restarting")])
            self.assertEqual(self.app.events[2:], [("closed", "server shutting down")] * 2)

        self.run_async(test)

    def test_an_operator_disconnects_for_good(self) -> None:
        async def test() -> None:
            sid = await self.open()
            waiting = await self.get(sid)
            socket = await self.socket()
            for client in self.app.clients:
                client.close_with(1008, "disconnected by an operator")
            await self.settle()
            self.assertEqual(waiting.response.body, b"41")
            self.assertEqual((await self.get(sid)).response.body, b"1")
            self.assertEqual(socket.messages[1:], ["41", (1008, "disconnected by an operator")])

        self.run_async(test)

    def test_counts(self) -> None:
        async def test() -> None:
            sid = await self.open()
            await self.open()
            socket = await self.upgrade(sid)
            await socket.send("2probe", "5")
            await self.socket()
            await self.ask("EIO=4")
            self.assertEqual(sessions.open_by_transport, {"polling": 1, "websocket": 2})
            self.assertEqual(sessions.opened, {"polling": 2, "websocket": 1})
            self.assertEqual((sessions.upgraded, sessions.refused), (1, {"0": 1}))

        self.run_async(test)
