"""The packets of a client."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.socketio import Socket
from cluster.socketio.client.client import Client
from cluster.testing import asynchronous
from tests.socketio.nodes import until
from tests.socketio.one_node import NodeTestCase


class MemoryTests(SynchronousTestCase):
    def test_no_class_of_a_client_has_a_dict(self) -> None:
        """Each needs ``__slots__``, even if empty: a dict takes as much memory as the rest."""
        for kind in (Client, Socket):
            without = [each for each in kind.__mro__[:-1] if "__slots__" not in vars(each)]
            self.assertEqual(without, [])


class PacketTests(NodeTestCase):
    @asynchronous
    async def test_binary_data_at_any_depth(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        client.take()
        holder = '{"_placeholder":true,"num":'
        client.receive(f'52-7["echo",{{"a":[{holder}1}}]}},{holder}0}}]', b"one", b"two")
        await until(lambda: client.sent)
        self.assertEqual(client.take(), [(6, "/", [{"a": [b"two"]}, b"one"], 7)])

    @asynchronous
    async def test_invalid_packets_close_the_client(self) -> None:
        server = await self.server()
        for text in ("9", "2[]x", '2/all,["x"]', "4", "2{}", '2["connect"]'):
            client = server.client()
            await client.connect()
            client.receive(text)
            self.assertEqual(client.closed, "parse error", text)
        client = server.client()
        client.on_message(b"binary", True)
        self.assertEqual(client.closed, "parse error")
