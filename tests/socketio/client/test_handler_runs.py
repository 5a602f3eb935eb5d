"""Handlers that run for a client."""

from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.one_node import NodeTestCase

ACK = 3


class EventTests(NodeTestCase):
    @asynchronous
    async def test_acknowledgements(self) -> None:
        server = await self.server()
        socket = await server.client().connect()
        self.assertEqual(await socket.call("echo", 1, {"a": [2]}), [1, {"a": [2]}])
        self.assertEqual(await socket.call("nothing"), [])
        self.assertEqual(await socket.call("chat message", "hi"), ["HI"])

    @asynchronous
    async def test_a_plain_function_runs_in_a_thread(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        self.assertEqual(await socket.call("plain", 5), [[5]])
        self.assertEqual(client.events(), [["from a thread", 5]])

    @asynchronous
    async def test_an_event_without_a_handler(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        for name in ("unknown", "any", "server_side_on_x", 5):
            socket.emit(name)
        await turns()
        self.assertEqual((client.take(), client.closed), ([], None))

    @asynchronous
    async def test_a_wrong_number_of_arguments(self) -> None:
        server = await self.server()
        socket = await server.client().connect()
        socket.emit("nothing", 1)
        socket.emit("say", "room")
        await turns()
        self.assertEqual(self.chat(server).seen, [])
        self.assertEqual(server.dropped["socketio_arguments"], 2)

    @asynchronous
    async def test_an_error_is_logged_and_not_acknowledged(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        client.receive('21["fail"]')
        await turns()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual((client.take(), client.closed), ([], None))
        self.assertEqual(await socket.call("echo"), [])

    @asynchronous
    async def test_handlers_of_a_client_are_bounded(self) -> None:
        server = await self.server()
        server.max_handlers = 2
        client = server.client()
        await client.connect()
        client.take()
        for number in range(5):
            client.receive(f'2{number}["wait"]')
        await turns()
        self.assertEqual(client.paused, ["handlers"])
        self.chat(server).proceed.set()
        await until(lambda: len(client.sent) == 5)
        self.assertCountEqual([each[3] for each in client.take()], [0, 1, 2, 3, 4])
        self.assertEqual(client.paused, [])

    @asynchronous
    async def test_many_handlers_that_do_not_wait_follow_one_that_did(self) -> None:
        server = await self.server()
        server.max_handlers = 1
        client = server.client()
        await client.connect()
        client.take()
        client.receive('20["wait"]')
        for number in range(1, 3000):
            client.receive(f'2{number}["echo",{number}]')
        self.chat(server).proceed.set()
        await until(lambda: len(client.sent) == 3000)
        numbers = [each[3] for each in client.take() if each[3]]
        self.assertEqual(numbers, list(range(1, 3000)))

    @asynchronous
    async def test_the_client_waits_while_the_bus_is_full(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        server.made.pubsub.remote_nodes.bus_full(True)
        socket.emit("nothing")
        self.assertEqual(client.paused, ["bus"])
        await until(lambda: self.chat(server).seen)

    @asynchronous
    async def test_a_handler_that_waits_for_its_client_does_not_count(self) -> None:
        server = await self.server()
        server.max_handlers = 1
        client = server.client()
        await client.connect()
        client.take()
        client.receive('20["ask","a"]')
        client.receive('21["ask","b"]')
        await until(lambda: len(client.sent) == 2)
        ids = [each[3] for each in client.take()]
        client.receive(f'3{ids[1]}["B"]')
        client.receive(f'3{ids[0]}["A"]')
        await until(lambda: len(client.sent) == 2)
        self.assertCountEqual(client.take(), [(ACK, "/", ["A"], 0), (ACK, "/", ["B"], 1)])
