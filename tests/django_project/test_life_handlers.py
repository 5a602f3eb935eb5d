"""The WebSockets of Life: valid and invalid messages, and clean-up after clients have left."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.barrier import EVERY_NODE
from cluster.core.exceptions import Disconnected
from cluster.django.api import topics
from cluster.django.handlers.websocket import WebSocket
from cluster.net.websocket.frames import text_frame
from django_project.gameoflife import counts, recent, reports
from django_project.gameoflife import game as games
from django_project.gameoflife.summary import read_summary
from tests.django.fakes import RecordingConnection, RecordingNode
from tests.django.site import load_site

GAME = "0123456789abcdef"

BAD_SIZES = [
    "",
    "0",
    "-1",
    "1001",
    "abc",
    "032",
    "1e3",
    " 32",
    "32\n",
    "+5",
    "3.5",
    "²",
    "9" * 5000,
]

BAD_NEIGHBOURS = [
    "", "run", "SUB", "1", "1 2 3", "a b", "1 -1", "2 0", "0 2", "01 0", "1  0", " 1 0", "1 0 ",
    "1,0", "² 0", b"0 1", "9" * 5000 + " 0", "sub\n",
]  # fmt: skip

BAD_FRAMES = [
    "", "sub", "0 0 0", "0 0 0 1 1", "0 0 0 2", "0 0 0 -1", "0 2 0 1", "0 0 2 1", "1 0 0 1",
    "-1 0 0 1", "a 0 0 1", "0 a 0 1", "0 0 0 a", "00 0 0 1", "0 0 0 01", "0  0 0 1", "0 0 0 1\n",
    "0\t0 0 1", "0 0 0 ²", b"0 0 0 1", "9" * 5000 + " 0 0 1",
]  # fmt: skip


async def settle() -> None:
    """Run every task until all of them wait, and the timers of 0 s."""
    for _ in range(10):
        await asyncio.sleep(0)


class Client:
    """A connection and its handler, run as by a node."""

    def __init__(
        self, node: RecordingNode, view: Any, subprotocol: str | None = None, **query: str
    ) -> None:
        self.connection = RecordingConnection()
        self.ws = WebSocket(
            self.connection,
            node.pubsub,
            (64, 1 << 20, 1 << 18),
            path="/",
            query={name: [value] for name, value in query.items()},
            headers={},
            client="test",
            subprotocol=subprotocol,
        )
        run: Callable[[WebSocket], Awaitable[None]] = view.websocket_handler.run
        self.task = self.ws.task = asyncio.create_task(self.serve(run))

    async def serve(self, run: Callable[[WebSocket], Awaitable[None]]) -> None:
        try:
            await run(self.ws)
        except Disconnected:
            return
        self.connection.close(1000)

    async def says(self, *messages: str | bytes) -> None:
        for message in messages:
            if isinstance(message, str):
                self.connection.text(message)
            else:
                self.connection.binary(message)
        await settle()

    async def leaves(self, code: int = 1006) -> None:
        self.connection.state = 0
        if not self.ws.connection_closed(code):
            self.task.cancel()
        await settle()
        assert self.task.done()


class LifeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        from django_project.gameoflife import handlers

        self.handlers = handlers
        self.node = RecordingNode()
        self.pubsub = self.node.pubsub
        self.barriers = self.pubsub.barriers
        self.patch(topics, "node", self.node)
        self.patch(games, "current", None)
        self.patch(games, "text_watchers", set())
        self.patch(games, "_arrivals", set())
        self.patch(games, "STATUS_S", 0)
        self.patch(reports, "SUMMARY_S", 0)
        self.patch(reports, "STATES_S", 0)
        self.patch(recent, "TOGETHER_S", 0)

    def new_game(self, size: int) -> games.Game:
        games.current = games.Game(GAME, size)
        return games.current

    async def client(self, view: Any, subprotocol: str | None = None, **query: str) -> Client:
        client = Client(self.node, view, subprotocol, **query)
        await settle()
        return client

    async def worker(self, **query: str) -> Client:
        return await self.client(self.handlers.worker, **query)

    async def running(self, *neighbours: str) -> Client:
        """Return a worker that has received "run", as if all other workers were connected."""
        client = await self.worker()
        self.barriers.release()
        await settle()
        await client.says(*neighbours, "sub")
        self.barriers.release()
        await settle()
        return client

    def published(self, topic: str) -> list[bytes]:
        return [entry[1] for entry in self.pubsub.published if entry[0] == topic.encode()]

    def assert_closed(self, client: Client, code: int) -> str:
        self.assertEqual([code_ for code_, _ in client.connection.closes], [code])
        return client.connection.closes[0][1]

    def assert_nothing_left(self, game: games.Game) -> None:
        self.assertEqual(game.workers, set())
        self.assertEqual(game.claims, {})
        self.assertEqual(game.subscribed, 0)
        self.assertEqual(self.barriers.parties, {})
        self.assertEqual(self.pubsub.plain, set())
        self.assertEqual(self.pubsub.skipping, {})


class ResetTests(LifeTestCase):
    def test_invalid_sizes_are_refused(self) -> None:
        async def run() -> None:
            for size in (*BAD_SIZES, b"32"):
                client = await self.client(self.handlers.reset)
                await client.says(size)
                reason = self.assert_closed(client, 1008)
                self.assertEqual(reason, "the size must be a whole number from 1 to 1000")
            self.assertEqual(self.pubsub.published, [])
            self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_the_connection_is_closed_when_every_node_has_the_new_game(self) -> None:
        async def run() -> None:
            for size in (1, 1000):
                client = await self.client(self.handlers.reset)
                await client.says(str(size))
                topic, frame, retained = self.pubsub.published.pop()
                self.assertEqual((topic, retained), (b"life/game", 1))
                game_id, told = json.loads(topics.as_message(frame))
                self.assertEqual(told, size)
                parties = list(self.barriers.parties.values())
                self.assertEqual(parties, [(f"life/{game_id}/reset", EVERY_NODE)])
                self.assertEqual(client.connection.closes, [])
                self.barriers.release()
                await settle()
                self.assert_closed(client, 1000)
                self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_a_client_that_leaves_early_withdraws_its_arrival(self) -> None:
        async def run() -> None:
            client = await self.client(self.handlers.reset)
            await client.says("32")
            await client.leaves()
            self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_a_client_may_leave_before_its_first_message(self) -> None:
        async def run() -> None:
            client = await self.client(self.handlers.reset)
            await client.leaves()
            self.assertEqual(self.pubsub.published, [])

        asyncio.run(run())


class WorkerTests(LifeTestCase):
    def test_watchers_receive_the_running_status(self) -> None:
        """Even if the last count was published before "running", because the bus may be slower."""

        async def run() -> None:
            self.new_game(1)
            client = await self.worker()
            self.barriers.release()
            await settle()
            await client.says("sub")
            told = [json.loads(topics.as_message(frame)) for frame in self.published(games.STATUS)]
            self.assertEqual(told[-1][2:], [1, 1, False, ""])
            self.barriers.release()
            await settle()
            told = [json.loads(topics.as_message(frame)) for frame in self.published(games.STATUS)]
            self.assertEqual(told[-1][2:], [1, 1, True, ""])
            await client.leaves()

        asyncio.run(run())

    def test_a_worker_without_a_game_is_refused(self) -> None:
        async def run() -> None:
            reason = self.assert_closed(await self.worker(), 1013)
            self.assertIn("/reset/", reason)

        asyncio.run(run())

    def test_a_worker_receives_sub_then_run(self) -> None:
        async def run() -> None:
            game = self.new_game(3)
            client = await self.worker()
            self.assertEqual(client.connection.sent, [])
            self.assertEqual(self.barriers.parties, {1: (f"life/{GAME}/connected", 9)})
            self.barriers.release()
            self.assertEqual(client.connection.sent, ["sub"])
            await settle()
            await client.says("0 1", "2 2")
            self.assertEqual(
                self.pubsub.plain,
                {(client.connection, game.topic(0, 1)), (client.connection, game.topic(2, 2))},
            )
            self.assertEqual((game.subscribed, game.running), (0, False))
            await client.says("sub")
            self.assertEqual((game.subscribed, game.running), (1, False))
            self.assertEqual(self.barriers.parties[2], (f"life/{GAME}/subscribed", 9))
            self.barriers.release()
            self.assertEqual(client.connection.sent, ["sub", "run"])
            await settle()
            self.assertTrue(game.running)
            await client.says("0 1 2 1", "1 1 2 0", "2 1 2 0")
            self.assertEqual(
                self.published(f"life/{GAME}/1/2"),
                [text_frame(frame) for frame in (b"0 1 2 1", b"1 1 2 0", b"2 1 2 0")],
            )
            self.assertEqual({code: cell.ws for code, cell in game.claims.items()}, {10: client.ws})
            await client.leaves()
            self.assert_nothing_left(game)

        asyncio.run(run())

    def test_a_worker_may_subscribe_to_at_most_eight_neighbours(self) -> None:
        async def run() -> None:
            self.new_game(3)
            places = [f"{row} {column}" for row in range(3) for column in range(3)]
            client = await self.running(*places[:8])
            self.assertEqual(client.connection.sent, ["sub", "run"])
            client = await self.worker_subscribing()
            await client.says(*places)
            self.assertIn("more than 8", self.assert_closed(client, 1008))

        asyncio.run(run())

    async def worker_subscribing(self) -> Client:
        assert games.current is not None
        games.current.started.clear()
        client = await self.worker()
        self.barriers.release()
        await settle()
        return client

    def test_messages_sent_before_run_are_relayed_first_and_in_order(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            client = await self.worker_subscribing()
            await client.says("0 0", "sub")
            self.barriers.release()
            # "run" is sent, but the handler has not continued yet
            client.connection.text("0 0 0 1")
            client.connection.text("1 0 0 0")
            await settle()
            await client.says("2 0 0 1")
            self.assertEqual(
                self.published(f"life/{GAME}/0/0"),
                [text_frame(frame) for frame in (b"0 0 0 1", b"1 0 0 0", b"2 0 0 1")],
            )
            await client.leaves()
            self.assert_nothing_left(game)

        asyncio.run(run())

    def test_nothing_is_relayed_after_an_invalid_frame(self) -> None:
        async def run() -> None:
            self.new_game(1)
            client = await self.worker_subscribing()
            await client.says("sub")
            self.barriers.release()
            for frame in ("0 0 0 1", "2 0 0 1", "1 0 0 1"):
                client.connection.text(frame)
            await settle()
            await client.says("1 0 0 1")
            self.assertEqual(self.published(f"life/{GAME}/0/0"), [text_frame(b"0 0 0 1")])
            self.assertEqual(self.assert_closed(client, 1008), "expected step 1, not 2")

        asyncio.run(run())

    def test_a_worker_of_a_full_game_is_refused(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            client = await self.worker()
            late = await self.worker()
            self.barriers.refuse(2)
            await settle()
            self.assertEqual(self.assert_closed(late, 1013), "the game is full")
            self.assertEqual(game.workers, {client.ws})
            await late.leaves(1013)
            self.assertEqual(game.workers, {client.ws})
            self.assertEqual(self.barriers.parties, {1: (f"life/{GAME}/connected", 1)})

        asyncio.run(run())

    def test_a_game_that_has_run_does_not_start_again(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            await (await self.running()).leaves()
            self.assert_closed(await self.worker(), 1013)
            self.assert_nothing_left(game)

        asyncio.run(run())

    def test_invalid_neighbours_are_refused(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            for message in BAD_NEIGHBOURS:
                client = await self.worker_subscribing()
                await client.says("0 1", message)
                self.assertTrue(self.assert_closed(client, 1008), message)
                await client.leaves(1008)
                self.assert_nothing_left(game)

        asyncio.run(run())

    def test_invalid_first_frames_are_refused(self) -> None:
        async def run() -> None:
            for message in BAD_FRAMES:
                game = self.new_game(2)
                client = await self.running("0 1")
                await client.says(message)
                self.assertTrue(self.assert_closed(client, 1008), message)
                await client.leaves(1008)
                self.assert_nothing_left(game)
            self.assertEqual(self.published(f"life/{GAME}/0/0"), [])

        asyncio.run(run())

    def test_invalid_later_frames_are_refused(self) -> None:
        async def run() -> None:
            for message in (
                *BAD_FRAMES[:-2],
                "0 0 0 1",
                "2 0 0 1",
                "1 0 1 1",
                "1 1 0 1",
                b"1 0 0 1",
            ):
                if message == "1 0 0 1":
                    continue  # valid for this cell
                game = self.new_game(2)
                client = await self.running("0 1")
                await client.says("0 0 0 1", message, "1 0 0 1")
                self.assertTrue(self.assert_closed(client, 1008), message)
                self.assertEqual(self.published(f"life/{GAME}/0/0"), [text_frame(b"0 0 0 1")])
                await client.leaves(1008)
                self.assert_nothing_left(game)
                self.pubsub.published.clear()

        asyncio.run(run())

    def test_a_cell_belongs_to_one_worker_until_it_leaves(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            first, second, third = [await self.worker() for _ in range(3)]
            self.barriers.release()
            await settle()
            for client in (first, second, third):
                await client.says("sub")
            self.barriers.release()
            await settle()
            await first.says("0 0 0 1")
            await second.says("0 0 0 0")
            self.assertEqual(self.assert_closed(second, 1008), "cell 0 0 is another worker's")
            await second.leaves(1008)
            self.assertEqual({code: cell.ws for code, cell in game.claims.items()}, {0: first.ws})
            await first.leaves()
            self.assertEqual(game.claims, {})
            await third.says("0 0 0 1")
            self.assertEqual(third.connection.closes, [])

        asyncio.run(run())

    def test_a_worker_may_leave_in_every_phase(self) -> None:
        async def run() -> None:
            game = self.new_game(2)

            async def connected() -> Client:
                return await self.worker()

            async def subscribing() -> Client:
                client = await self.worker_subscribing()
                await client.says("0 1")
                return client

            async def subscribed() -> Client:
                client = await subscribing()
                await client.says("sub")
                return client

            async def released() -> Client:
                client = await subscribed()
                self.barriers.release()  # the client leaves before its handler has continued
                return client

            async def told() -> Client:
                client = await subscribed()
                self.barriers.release()
                await client.says("0 0 0 1")
                return client

            for phase in (connected, subscribing, subscribed, released, told):
                game.started.clear()
                client = await phase()
                await client.leaves()
                self.assert_nothing_left(game)
                game.started.clear()
                client = await phase()
                game.end()
                self.assert_closed(client, 1012)
                await client.leaves(1012)
                self.assert_nothing_left(game)

        asyncio.run(run())

    def test_counts_are_published(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.running()
            await settle()
            told = [json.loads(topics.as_message(f)) for f in self.published("life/status")]
            self.assertEqual([entry[0] for entry in told], [GAME] * len(told))
            statistics = [entry[2:5] for entry in told]
            self.assertEqual(statistics[0], [1, 0, False])
            self.assertIn([1, 1, False], statistics)
            await client.leaves()
            await settle()
            last = json.loads(topics.as_message(self.published("life/status")[-1]))
            self.assertEqual(last[2:], [0, 0, True, ""])

        asyncio.run(run())

    def test_reports_are_published(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.running()
            await client.says("0 1 0 1", "1 1 0 1", "2 1 0 0")
            summaries = b"".join(
                bytes(topics.as_message(frame))[17:]  # type: ignore[arg-type]
                for frame in self.published("life/board")
            )
            self.assertEqual(summaries, struct.pack("<4I3I4I", 0, 1, 1, 5, 1, 1, 0, 2, 1, 1, 4))

        asyncio.run(run())


class ResumeTests(LifeTestCase):
    async def resuming(self, row: int, column: int, *neighbours: str, **query: str) -> Client:
        """Return a worker that has resumed, up to its "run"."""
        client = await self.worker(resume=f"{row},{column}", **query)
        await client.says(*neighbours, "sub")
        return client

    def test_a_worker_resumes_at_once_in_a_running_game(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            neighbour = await self.running()
            await neighbour.says("0 0 1 1", "1 0 1 0", "2 0 1 1")
            self.pubsub.published.clear()
            client = await self.resuming(1, 0, "0 1", game=GAME)
            self.assertEqual(client.connection.sent, ["sub", "run", "1 0 1 0", "2 0 1 1"])
            await client.says("1 1 0 1", "2 1 0 0", "3 1 0 1")
            self.assertEqual(
                self.published(f"life/{GAME}/1/0"),
                [text_frame(frame) for frame in (b"1 1 0 1", b"2 1 0 0", b"3 1 0 1")],
            )
            # Its first connection has reported the two frames that are sent again.
            self.assertEqual(self.reports(), {3: (1, [5])})
            await client.leaves()
            await neighbour.leaves()
            self.assert_nothing_left(game)

        asyncio.run(run())

    def reports(self) -> dict[int, tuple[int, list[int]]]:
        """Return the published reports: step -> (number, codes of changed cells)."""
        found = b"".join(
            bytes(topics.as_message(frame))[17:]  # type: ignore[arg-type]
            for frame in self.published("life/board")
        )
        return {step: (count, list(codes)) for step, count, codes in read_summary(found)}

    def test_other_nodes_are_asked_for_the_frames_of_their_cells(self) -> None:
        async def run() -> None:
            self.new_game(2).started.set()
            client = await self.resuming(1, 0, "0 1", "1 1")
            await asyncio.sleep(0)
            asked = [json.loads(topics.as_message(frame)) for frame in self.published("life/ask")]
            self.assertEqual([entry[0] for entry in asked], [GAME] * len(asked))
            self.assertEqual([entry[2:] for entry in asked], [[[1, 3], [2]]])
            games._take_answer(json.dumps([GAME, [[1, ["4 0 1 0", "5 0 1 1"]]]]))
            games._take_answer(json.dumps(["f" * 16, [[3, ["9 1 1 0"]]]]))
            self.assertEqual(client.connection.sent, ["sub", "run", "4 0 1 0", "5 0 1 1"])

        asyncio.run(run())

    def test_a_node_answers_for_its_cells(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.running()
            await client.says("0 0 1 1")
            games._take_question(json.dumps([GAME, "other", [0, 1], []]))
            (answer,) = self.published("life/answer/other")
            self.assertEqual(json.loads(topics.as_message(answer)), [GAME, [[1, ["0 0 1 1"]]]])
            await client.says("1 0 1 0", "2 0 1 1")
            games._take_question(json.dumps([GAME, "other", [1], []]))
            answer = self.published("life/answer/other")[-1]
            self.assertEqual(
                json.loads(topics.as_message(answer)), [GAME, [[1, ["1 0 1 0", "2 0 1 1"]]]]
            )
            # A cell that has resumed on another node has an old connection here.
            games._take_question(json.dumps([GAME, "other", [], [1]]))
            self.assertIn("resumed", self.assert_closed(client, 1012))

        asyncio.run(run())

    def test_a_running_worker_asks_again(self) -> None:
        async def run() -> None:
            self.new_game(2)
            neighbour, client = await self.running(), await self.worker(resume="0,0")
            await client.says("0 1", "sub", "0 0 0 1")
            await neighbour.says("0 0 1 1")
            client.connection.sent.clear()
            await client.says("0 1")
            self.assertEqual(client.connection.sent, ["0 0 1 1"])
            await client.says("0 2")
            self.assert_closed(client, 1008)

        asyncio.run(run())

    def test_a_worker_that_resumes_while_the_game_gathers_is_one_of_them(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            client = await self.worker(resume="1,1")
            self.assertEqual(client.connection.sent, [])
            self.barriers.release()
            await settle()
            self.assertEqual(client.connection.sent, ["sub"])
            await client.says("0 0", "sub")
            self.barriers.refuse(2)  # the others run; this node has not received it yet
            await settle()
            self.assertEqual(client.connection.sent, ["sub", "run"])
            other = await self.worker(resume="1,0")
            self.assertTrue(game.running)
            self.assertEqual(other.connection.sent, ["sub"])

        asyncio.run(run())

    def test_a_worker_waits_until_its_node_knows_that_the_game_runs(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.worker(resume="1,1")
            games._take_status(json.dumps([GAME, "node", 3, 3, True, ""]))
            await settle()
            self.assertEqual(client.connection.sent, ["sub"])
            self.assertEqual(self.barriers.waiting, {})

        asyncio.run(run())

    def test_sub_is_sent_once_when_the_game_starts_as_the_barrier_is_released(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.worker(resume="1,1")
            games._take_status(json.dumps([GAME, "node", 3, 3, True, ""]))
            while not client.connection.sent:
                await asyncio.sleep(0)
            self.barriers.release()
            await settle()
            self.assertEqual(client.connection.sent, ["sub"])

        asyncio.run(run())

    def test_the_last_connection_of_a_cell_counts(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            first = await self.running()
            await first.says("0 0 0 1")
            second = await self.resuming(0, 0)
            self.assertIn("resumed", self.assert_closed(first, 1012))
            await second.says("0 0 0 1")
            await first.leaves(1012)
            self.assertEqual({code: cell.ws for code, cell in game.claims.items()}, {0: second.ws})

        asyncio.run(run())

    def test_invalid_positions_and_other_games_are_refused(self) -> None:
        async def run() -> None:
            self.new_game(2)
            for resume in ("", "0", "0,2", "0,0,0", "a,0", "-1,0", "01,0", "0 0"):
                client = await self.worker(resume=resume)
                self.assertTrue(self.assert_closed(client, 1008), resume)
            client = await self.worker(resume="0,0", game="f" * 16)
            self.assertEqual(self.assert_closed(client, 1008), "a new game was started")
            assert games.current is not None
            games.current.started.set()
            client = await self.resuming(0, 1)
            await client.says("7 0 0 1")
            self.assertEqual(self.assert_closed(client, 1008), "cell 0 0 is not yours")

        asyncio.run(run())

    def test_a_game_whose_cells_do_not_return_is_over(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            client = await self.running()
            now = 1000.0
            self.patch(games, "monotonic", lambda: now)
            game.counts.take(games.member(), 1, 1)
            game.beat()
            now += counts.RESUME_TIMEOUT_S - 1
            game.beat()
            self.assertEqual(client.connection.closes, [])
            now += 1
            game.beat()
            why = self.assert_closed(client, 1008)
            self.assertEqual(why, "the game is over: 3 of 4 cells did not return within 30 s")
            self.assertEqual((game.status()["phase"], game.status()["why"]), ("over", why))
            late = await self.worker(resume="0,0")
            self.assertEqual(self.assert_closed(late, 1008), why)

        asyncio.run(run())

    def test_other_nodes_end_the_game_too(self) -> None:
        async def run() -> None:
            self.new_game(2)
            client = await self.running()
            games._take_status(json.dumps([GAME, "a 1", 0, 0, True, "the game is over: why"]))
            self.assertEqual(self.assert_closed(client, 1008), "the game is over: why")

        asyncio.run(run())

    def test_the_counts_of_a_node_that_is_gone_vanish(self) -> None:
        async def run() -> None:
            self.patch(games, "GONE_S", 0)
            game = self.new_game(2)
            game.started.set()
            presence = self.pubsub.presence
            membership = (b"life/nodes", "node1 ff")
            presence.table.join("elsewhere", membership)
            watcher = await self.client(self.handlers.watcher, "life.v2.bin")
            for node, connected in (("node1 ff", 3), ("node0 aa", 1)):
                games._take_status(json.dumps([GAME, node, connected, connected, True, ""]))
            self.assertEqual(game.status()["connected"], 4)
            presence.remote_node_left("elsewhere")
            await settle()
            status = game.status()
            self.assertEqual((status["connected"], status["lost"]), (1, {"node1": 3}))
            games._take_status(json.dumps([GAME, "node0 aa", 4, 4, True, ""]))
            self.assertNotIn("lost", game.status())
            await watcher.leaves()

        asyncio.run(run())


class GameTests(LifeTestCase):
    def test_a_new_game_ends_the_old_one(self) -> None:
        async def run() -> None:
            old = self.new_game(1)
            client = await self.running()
            await client.says("0 0 0 1")
            games._take_game(json.dumps(["f" * 16, 2]))
            self.assertEqual(client.connection.closes, [(1012, "a new game was started")])
            self.assertEqual((old.workers, old.claims), (set(), {}))
            new = games.current
            assert new is not None and new is not old
            self.assertEqual((new.id, new.size, new.running), ("f" * 16, 2, False))
            told = [topics.as_message(frame) for frame in self.published("life/watch")]
            self.assertEqual(told[0], b"S\x02\x00" + bytes(5))
            await settle()
            self.assertIn((f"life/{'f' * 16}/reset", EVERY_NODE), self.barriers.parties.values())
            self.pubsub.published.clear()
            await client.leaves(1012)
            await settle()
            self.assertEqual(old.subscribed, 0)
            self.assertEqual((new.subscribed, new.workers), (0, set()))
            self.assertEqual(
                self.published("life/status"), [], "an old game's counts were published"
            )
            self.barriers.release()
            await settle()
            self.assertEqual(games._arrivals, set())
            self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_a_node_may_join_after_all_other_nodes_have_arrived(self) -> None:
        async def run() -> None:
            games._take_game(json.dumps([GAME, 2]))
            await settle()
            self.barriers.refuse(1)
            await settle()
            self.assertEqual(games._arrivals, set())

        asyncio.run(run())

    def test_messages_of_other_games_are_ignored(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            games._take_status(json.dumps(["f" * 16, "node", 5, 5, True, ""]))
            games._take_board(bytes.fromhex("f" * 32) + b"R" + struct.pack("<4I", 0, 1, 1, 1))
            self.assertEqual(self.pubsub.published, [])
            games._take_status(json.dumps([GAME, "node", 5, 4, True, ""]))
            games._take_board(
                bytes.fromhex(GAME + "a" * 16) + b"R" + struct.pack("<4I", 0, 1, 1, 1)
            )
            self.assertTrue(game.running)
            status, delta = (topics.as_message(f) for f in self.published("life/watch"))
            self.assertEqual(
                json.loads(status),
                {"phase": "running", "size": 1, "needed": 1, "connected": 5, "subscribed": 4},
            )
            self.assertEqual(delta, b"D" + struct.pack("<3I", 0, 1, 1))

        asyncio.run(run())

    def test_counts_are_the_sums_of_the_newest_counts_of_all_nodes(self) -> None:
        game = self.new_game(2)
        game.take_counts("a", 2, 1, False)
        game.take_counts("b", 1, 1, False)
        game.take_counts("a", 3, 0, False)
        status = game.status()
        self.assertEqual((status["connected"], status["subscribed"]), (4, 1))
        self.assertEqual((status["phase"], status["needed"]), ("gathering", 4))

    def test_the_board_is_rebuilt_only_after_workers_were_lost(self) -> None:
        game = self.new_game(2)
        returned: list[None] = []
        game.reports.returned = lambda: returned.append(None)  # type: ignore[method-assign]
        game.take_counts("a", 2, 2, False)
        game.take_counts("b", 1, 1, True)  # the game runs before all are counted
        game.take_counts("b", 2, 2, True)
        self.assertEqual([], returned)
        game.take_counts("b", 1, 1, True)
        self.assertEqual([], returned)
        game.take_counts("a", 3, 3, True)
        game.take_counts("a", 3, 3, True)
        self.assertEqual(1, len(returned))


class WatcherTests(LifeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.binary = "life.v2.bin"

    async def watcher(self, subprotocol: str | None) -> Client:
        return await self.client(self.handlers.watcher, subprotocol)

    def test_a_watcher_without_a_game_receives_the_idle_status(self) -> None:
        async def run() -> None:
            client = await self.watcher(self.binary)
            snapshot, status = client.connection.sent
            self.assertEqual(snapshot, b"S" + bytes(6))
            self.assertEqual(json.loads(status)["phase"], "idle")
            self.assertEqual((await self.watcher(None)).connection.sent, [])

        asyncio.run(run())

    def test_a_late_watcher_receives_the_board_at_once(self) -> None:
        async def run() -> None:
            game = self.new_game(2)
            game.reports.take_summary(
                "a", struct.pack("<4I", 0, 4, 1, 3) + struct.pack("<3I", 1, 4, 0)
            )
            client = await self.watcher(self.binary)
            self.assertEqual(client.connection.sent[0], b"S\x02\x00\x01\x00\x00\x00\x02")
            self.assertEqual(json.loads(client.connection.sent[1])["needed"], 4)
            text = await self.watcher(None)
            self.assertEqual(text.connection.sent, ["1 0 0 0", "1 0 1 1", "1 1 0 0", "1 1 1 0"])

        asyncio.run(run())

    def test_text_watchers_receive_every_step(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            client = await self.watcher(None)
            game.reports.take_summary("a", struct.pack("<4I4I3I", 0, 1, 1, 1, 1, 1, 1, 0, 2, 1, 0))
            told = [topics.as_message(frame) for frame in self.published("life/watch/text")]
            self.assertEqual(told, ["0 0 0 1", "1 0 0 0", "2 0 0 0"])
            await client.leaves()
            self.assertEqual(games.text_watchers, set())
            game.reports.take_summary("a", struct.pack("<3I", 3, 1, 0))
            self.assertEqual(len(self.published("life/watch/text")), 3)

        asyncio.run(run())

    def test_messages_of_a_watcher_are_ignored(self) -> None:
        async def run() -> None:
            for subprotocol in (self.binary, None):
                client = await self.watcher(subprotocol)
                await client.says(*["hello", b"\xff"] * 100)
                self.assertEqual((client.connection.closes, client.connection.pauses), ([], set()))
                await client.leaves()
            self.assertEqual(self.pubsub.skipping, {})

        asyncio.run(run())

    def test_a_slow_watcher_receives_the_newest_step_when_it_reads_again(self) -> None:
        async def run() -> None:
            game = self.new_game(1)
            client, text = await self.watcher(self.binary), await self.watcher(None)
            for one, topic in ((client, b"life/watch"), (text, b"life/watch/text")):
                one.connection.sent.clear()
                one.connection.block(1 << 20)
                self.pubsub.skipping[one.connection, topic]()
            game.reports.take_summary("a", struct.pack("<4I", 0, 1, 1, 1))
            client.connection.drain()
            text.connection.drain()
            self.assertEqual(client.connection.sent[0], b"S\x01\x00" + bytes(4) + b"\x01")
            self.assertEqual(text.connection.sent, ["0 0 0 1"])

        asyncio.run(run())
