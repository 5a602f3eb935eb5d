"""Echo clients on a server that follows the conversation, or deviates from it."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny

from tests.workers.patience import PATIENCE_S
from tests.workers.swarm_server import ServerConnection, SwarmTestCase, reactor
from workers.load import echo_clients
from workers.load.echo_clients import EchoPlan, EchoShard
from workers.load.echo_command import peak_reached
from workers.processes import shard
from workers.processes.swarm import Report, Swarm
from workers.reporting.summary import merged_counts, merged_latencies


class EchoTests(SwarmTestCase):
    async def echo(self, clients: int = 5, delay: float = 0.1, **further: Any) -> list[Report]:
        plan = EchoPlan(**{**self.common("/talk/", clients), **further}, delay=delay)
        swarm = Swarm(reactor, EchoShard, plan)

        async def steps() -> None:
            await swarm.all("done")

        reports = await swarm.through(steps())
        self.assertIsNone(swarm.stopped)
        return reports

    async def test_success(self) -> None:
        self.server.together = 5
        reports = await self.echo()
        tally = merged_counts(reports, "tally")
        self.assertEqual((tally["done"], tally["failed"], tally["open"]), (5, 0, 0))
        self.assertEqual(merged_counts(reports, "failures"), {})
        self.assertTrue(peak_reached(reports))
        self.assertEqual(reports[0]["most"], 5)
        self.assertEqual(len(merged_latencies(reports, "reply")), 15)
        self.assertEqual(len(merged_latencies(reports, "connect")), 5)

    async def test_in_child_processes(self) -> None:
        self.server.together = 5  # all five, even if one of the processes starts much later
        reports = await self.echo(clients=5, delay=0.5, shards=2)
        self.assertEqual(len(reports), 2)
        self.assertEqual(merged_counts(reports, "tally")["done"], 5)
        self.assertTrue(peak_reached(reports))
        self.assertEqual(len(merged_latencies(reports, "reply")), 15)

    async def test_a_wrong_message(self) -> None:
        self.patch(ServerConnection, "reply", lambda server, _: server.sendMessage(b"1. Ham?"))
        reports = await self.echo()
        self.assertEqual(
            merged_counts(reports, "failures"),
            {"wrong transcript: expected '1. Spam?', got '1. Ham?'": 5},
        )
        self.assertEqual(merged_counts(reports, "tally")["failed"], 5)
        self.assertEqual(merged_counts(reports, "tally")["open"], 0)

    async def test_closed_early(self) -> None:
        self.patch(ServerConnection, "reply", lambda server, _: server.sendClose(3000, "no more"))
        reports = await self.echo()
        self.assertEqual(
            merged_counts(reports, "failures"), {"closed by the server: 3000 no more": 5}
        )

    async def test_lost(self) -> None:
        self.patch(ServerConnection, "reply", lambda server, _: server.transport.abortConnection())
        reports = await self.echo()
        self.assertEqual(merged_counts(reports, "failures"), {"connection lost (1006)": 5})

    async def test_a_silent_server_fails_all_clients(self) -> None:
        sent: list[bytes] = []
        self.patch(ServerConnection, "reply", lambda peer, payload: sent.append(payload))
        self.patch(echo_clients, "LOOK_EVERY", 0.05)
        # The timeout passes after all clients have sent a message.
        patience = PATIENCE_S + 1
        self.patch(
            echo_clients, "monotonic", lambda: shard.monotonic() + (len(sent) == 5) * patience
        )
        reports = await self.echo()
        self.assertEqual(merged_counts(reports, "failures"), {"no reply in time": 5})

    async def test_refused_by_the_server(self) -> None:
        def refuse(peer: ServerConnection, request: Any) -> None:
            raise ConnectionDeny(403, "not you")

        self.patch(ServerConnection, "onConnect", refuse)
        reports = await self.echo()
        self.assertEqual(merged_counts(reports, "failures"), {"handshake refused: 403 not you": 5})
        self.assertFalse(peak_reached(reports))

    async def test_a_missing_server_fails_all_clients(self) -> None:
        await self.port.stopListening()
        reports = await self.echo()
        self.assertEqual(merged_counts(reports, "failures"), {"connection refused": 5})

    async def test_a_peak_missed(self) -> None:
        self.server.together = 4
        original = ServerConnection.onConnect
        first: list[ServerConnection] = []

        def slow(peer: ServerConnection, request: Any) -> Any:
            original(peer, request)
            first.append(peer)
            # The server accepts the last client when all other clients have left.
            return self.server.emptied if len(first) == 5 else None

        self.patch(ServerConnection, "onConnect", slow)
        reports = await self.echo(delay=0.05)
        self.assertEqual(merged_counts(reports, "tally")["done"], 5)
        self.assertFalse(peak_reached(reports))
        self.assertEqual(reports[0]["most"], 4)
