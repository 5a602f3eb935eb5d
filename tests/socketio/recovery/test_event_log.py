"""The events of a namespace, in one order on all nodes."""

import asyncio

from cluster.core.broker_state.exchange import Exchange
from cluster.socketio.recovery import event_log
from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.recovery.sessions import RecoveryTestCase


class OrderTests(RecoveryTestCase):
    @asynchronous
    async def test_all_nodes_deliver_in_one_order(self) -> None:
        await self.start(3)
        sessions = [await self.session(number, "r") for number in range(3)]
        for number in range(20):
            self.space(number % 3).to("r").emit("n", number)
            if number % 4 == 0:
                await asyncio.sleep(0)
        await turns()
        first, *others = [session.look() for session in sessions]
        self.assertEqual(len(first), 20)
        self.assertEqual(others, [first, first])

    @asynchronous
    async def test_another_broker_with_the_same_events(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        other = await self.session(1, "r")
        for number in range(3):
            self.space(0).to("r").emit("n", number)
        await turns()
        session.lose_connection()
        await turns()
        self.nodes.exchange = Exchange("second")
        for node in self.nodes.nodes.values():
            node.pubsub.bus_down()
        for node in self.nodes.nodes.values():
            node.bus.start(node.pubsub)
        await turns()
        self.space(1).to("r").emit("n", 3)
        await turns()
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, other.look())
        self.assertEqual([number for _, number in session.got], [0, 1, 2, 3])
        self.assertTrue(str(session.offset).startswith("second"))

    @asynchronous
    async def test_the_log_is_out_of_reach(self) -> None:
        self.patch(event_log, "READY_TIMEOUT_S", 0.01)
        await self.start(1)
        bus = self.nodes.nodes["n0"].bus
        bus.send = lambda message: None  # type: ignore[method-assign]
        client = self.servers[0].client()
        client.receive("0")
        await until(lambda: client.closed)
        self.assertEqual(client.sent, [])
        del bus.send
        await self.session(0, "r")
