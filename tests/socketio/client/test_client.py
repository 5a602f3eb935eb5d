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
        client.receive(f'51-8["echo",{holder}0}}]', b"three")  # one packet after the other
        await until(lambda: client.sent)
        self.assertEqual(client.take(), [(6, "/", [b"three"], 8)])

    @asynchronous
    async def test_invalid_packets_close_the_client(self) -> None:
        server = await self.server()
        for text in ("9", "2[]x", '2/all,["x"]', "4", "2{}", '2["connect"]'):
            client = server.client()
            await client.connect()
            client.receive(text)
            self.assertEqual(client.closed, "parse error", text)

    @asynchronous
    async def test_attachments_out_of_place_close_the_client(self) -> None:
        server = await self.server()
        event = '51-7["echo",{"_placeholder":true,"num":0}]'
        for packets in ([b"binary"], [event, '2["echo"]'], [event, event], [event, b"a", b"b"]):
            client = server.client()
            await client.connect()
            for each in packets:
                is_binary = isinstance(each, bytes)
                client.on_message(each if isinstance(each, bytes) else each.encode(), is_binary)
            self.assertEqual(client.closed, "parse error", packets)
