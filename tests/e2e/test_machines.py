"""Two clusters on this host, as two machines that share a Redis."""

import json
import os
import re
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.e2e.asking import LOOK_AGAIN_S, get, get_until, statistics_until
from tests.e2e.processes import (
    ROOT,
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    environment,
    reactor,
    start_cluster,
    start_program,
    twistd,
)
from tests.e2e.wsclient import Client, connect
from tests.machines.redis_server import RedisServer, RedisTestCase
from tests.once import once
from tests.test_monitoring import all_metrics

SETTINGS = "tests.e2e.machines_site"
PASSWORD = "swordfish"


class MachinesTestCase(RedisTestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        super().setUp()
        self.state = {"C10K_STATE_DIR": str(Path(self.mktemp()).absolute())}
        self.redis: RedisServer = self.start_redis()

    async def start(
        self, machine: str, *options: str, nodes: int = 2, bus: str = "", **extra: str
    ) -> Cluster:
        return await start_cluster(
            self, "--nodes", str(nodes), "--settings", SETTINGS, "--machine", machine, *options,
            extra={**self.state, "C10K_BUS": bus or self.redis.url, **extra},
        )  # fmt: skip

    async def start_both(self) -> tuple[Cluster, Cluster]:
        one = await self.start("a")
        other = await self.start("b")
        for cluster in (one, other):
            await self.readyz(cluster, "ready")
            await statistics_until(
                cluster, lambda found: found.get("broker") == 1, "c10k_uplink_machines"
            )
        return one, other

    async def readyz(self, cluster: Cluster, word: str) -> str:
        """Wait until /readyz is 200 and begins with a word; returns its body."""
        return await get_until(cluster.admin_url + "readyz", 200, begins=word)

    async def open(self, cluster: Cluster, path: str, cookie: str = "") -> Client:
        url = f"ws://127.0.0.1:{cluster.port}/{path}"
        client = await connect(reactor, url, headers={"Cookie": cookie} if cookie else None)
        self.addCleanup(self.leave, client)
        return client

    def leave(self, client: Client) -> Any:
        client.abort()
        return client.closed

    async def enter(
        self, cluster: Cluster, me: str, since: str = ""
    ) -> tuple[Client, dict[str, Any]]:
        """Enter a room; returns the client, and what the subscription says: "history" has what was
        sent before."""
        client = await self.open(cluster, f"room/x/?me={me}&since={since}")
        history: list[Any] = []
        subscription = await self.json(client, history)
        await self.message(client, f"+{me}")
        return client, {**subscription, "history": history}

    async def json(self, client: Client, before: list[Any] | None = None) -> Any:
        """Wait for a message in JSON; others come before it."""
        while not (message := str(await client.next_message())).startswith(("{", "[")):
            if before is not None:
                before.append(message)
        return json.loads(message)

    async def message(self, client: Client, wanted: str, before: list[Any] | None = None) -> None:
        """Wait for a message; others come before it."""
        while (message := await client.next_message()) != wanted:
            if before is not None:
                before.append(message)

    async def status(self, cluster: Cluster) -> Any:
        return json.loads((await get(cluster.admin_url + "status.json"))[1])


@once
class MachinesTests(MachinesTestCase):
    async def test_two_machines_are_one_site(self) -> None:
        a, b = await self.start_both()
        ada, _ = await self.enter(a, "ada")
        ada.send("first")  # a topic without messages has no position
        await self.message(ada, "first")
        bob, start = await self.enter(b, "bob")
        self.assertEqual(start["history"], ["first"])
        await self.message(ada, "+bob")  # presence, to those that were there before
        present: list[str] = []
        while present != ["ada", "bob"]:
            bob.send("/who")
            present = await self.json(bob)
        # Messages in both directions, in one order.
        for number in range(5):
            ada.send(f"a{number}")
            bob.send(f"b{number}")
        heard: list[list[Any]] = []
        for client in (ada, bob):
            heard.append([await client.next_message() for _ in range(10)])
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(sorted(heard[0]), [f"{who}{n}" for who in "ab" for n in range(5)])
        # A position of one machine is one of the other.
        _, resumed = await self.enter(a, "cid", start["position"])
        self.assertEqual((resumed["recovered"], resumed["history"]), (True, heard[0]))
        for client in (ada, bob):
            await self.message(client, "+cid")
        # A barrier of parties on both machines.
        ada.send("/meet")
        bob.send("/meet")
        await gatherResults(
            [Deferred.fromCoroutine(self.message(each, "met")) for each in (ada, bob)]
        )
        bob.abort()
        await self.message(ada, "-bob")
        # Topics without history.
        anna, ben = await self.open(a, "plain/"), await self.open(b, "plain/")
        await self.reaches(anna, ben)
        await self.reaches(ben, anna)
        await self.socketio_rooms(a, b)
        # What operators see.
        for cluster, machine, other in ((a, "a", "b"), (b, "b", "a")):
            status = await self.status(cluster)
            self.assertEqual(status["state"], "ready")
            self.assertEqual(
                [status["uplink"][key] for key in ("machine", "state", "machines")],
                [machine, "joined", [other]],
            )
            self.assertNotIn("Traceback", cluster.text)
        page = (await get(a.admin_url + "metrics"))[1]
        used = {name for name in all_metrics() if name.startswith("c10k_uplink_")}
        self.assertEqual(used - set(re.findall(r"^(c10k_uplink_\w+){", page, re.MULTILINE)), set())
        a.kill()
        await a.end()
        await statistics_until(b, lambda found: found.get("broker") == 0, "c10k_uplink_machines")
        bob, _ = await self.enter(b, "bob")
        bob.send("/who")
        self.assertEqual(await self.json(bob), ["bob"])

    async def socketio_rooms(self, *clusters: Cluster) -> None:
        """Clients of Socket.IO in rooms over both machines: each message arrives once, in order."""
        urls = []
        for cluster in clusters:
            urls += ["--url", f"ws://127.0.0.1:{cluster.port}/"]
        swarm = Program()
        command = [sys.executable, "-m", "workers", "socketio", *urls, "--json"]
        command += ["--clients", "8", "--rooms", "2", "--rate", "50", "--seconds", "1"]
        command += ["--pause", "0.2", "--transport", "websocket", "--transport", "polling"]
        start_program(self, swarm, command, uuid.uuid4().hex, cwd=str(ROOT))
        await swarm.end(TEST_TIMEOUT_S)
        self.assertEqual(swarm.status, 0, swarm.text)
        found = json.loads(swarm.lines[-1])
        self.assertEqual([found[key] for key in ("published", "delivered")], [50, 200])
        self.assertEqual([found[key] for key in ("lost", "duplicates", "out_of_order")], [0] * 3)

    async def reaches(self, sender: Client, receiver: Client) -> None:
        """Send until a message arrives: subscriptions may reach the other machine later."""
        text = uuid.uuid4().hex  # a client receives its own messages, too: those of an earlier call
        arrived = Deferred.fromCoroutine(self.message(receiver, text))
        while not arrived.called:
            sender.send(text)
            await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
        await arrived

    async def test_a_logout_on_one_machine_closes_the_sockets_on_the_other(self) -> None:
        a, b = await self.start_both()
        program = Program()
        start_program(
            self, program, [sys.executable, "-m", "tests.e2e.sessions", "new", "anna"],
            uuid.uuid4().hex, extra={**self.state, "XDG_RUNTIME_DIR": str(a.runtime)},
        )  # fmt: skip
        await program.end()
        key = json.loads(program.lines[-1])["anna"]
        client = await self.open(b, "plain/", f"sessionid={key}")
        guest = await self.open(b, "plain/")
        ended = Program()
        start_program(
            self, ended,
            [sys.executable, "-m", "tests.e2e.sessions", f"session({key!r}).delete()"],
            uuid.uuid4().hex, extra={**self.state, "XDG_RUNTIME_DIR": str(a.runtime)},
        )  # fmt: skip
        closed = await client.closed
        self.assertEqual((closed.code, closed.reason), (4401, "the session has ended"))
        await ended.end()
        self.assertEqual(ended.status, 0, ended.text)
        await self.reaches(guest, guest)

    async def test_a_gateway_that_is_killed(self) -> None:
        a, b = await self.start_both()
        (ada, _), (bob, _) = await self.enter(a, "ada"), await self.enter(b, "bob")
        again = a.line("broker ready")
        os.kill(a.pids["broker"], signal.SIGKILL)
        ada.send("meanwhile")
        await again
        ada.send("after")
        before: list[Any] = []
        await self.message(bob, "after", before)
        # Members of the machine may leave, but they return.
        self.assertEqual([each for each in before if each[0] not in "+-"], ["meanwhile"])
        self.assertNotEqual([each for each in before if each[1:] == "ada"][-1:], ["-ada"])
        await self.readyz(a, "ready")

    async def test_a_redis_that_is_killed_and_restarted_empty(self) -> None:
        a, b = await self.start_both()
        (ada, _), (bob, _) = await self.enter(a, "ada"), await self.enter(b, "bob")
        ada.send("first")
        await self.message(bob, "first")
        _, start = await self.enter(a, "eve")
        ada.send("before")
        await self.message(bob, "before")
        anna, ann = await self.open(a, "plain/"), await self.open(a, "plain/")
        self.redis.kill()
        body = await self.readyz(a, "degraded")
        self.assertIn("the other machines", body)
        await self.reaches(anna, ann)  # this machine's own topics
        page = (await get(a.admin_url + "metrics"))[1]
        self.assertIn('c10k_uplink_joined{node="broker"} 0.0', page)
        status = await self.status(a)
        self.assertEqual((status["state"], len(status["reasons"])), ("degraded", 1))
        self.redis.start()
        for cluster in (a, b):
            await self.readyz(cluster, "ready")
            await statistics_until(
                cluster, lambda found: found.get("broker") == 1, "c10k_uplink_machines"
            )
        ada.send("again")
        await self.message(bob, "again")
        # The history has survived on both machines.
        _, resumed = await self.enter(b, "cid", start["position"])
        self.assertEqual((resumed["recovered"], resumed["history"]), (True, ["before", "again"]))
        events = [each["text"] for each in (await self.status(a))["events"]]
        self.assertTrue(any("joined the other machines" in text for text in events), events)

    async def test_a_rolling_restart_keeps_the_broker_and_the_other_machine(self) -> None:
        a, b = await self.start_both()
        bob, _ = await self.enter(b, "bob")
        before = a.pids["broker"]
        done = a.line("restarted 2 nodes")
        a.kill(signal.SIGHUP)
        self.assertIn("the broker's code has not changed", (await done).string)
        self.assertEqual(a.pids["broker"], before)
        await self.enter(a, "ada")
        await self.message(bob, "+ada")

    async def test_a_broker_with_new_code_takes_over(self) -> None:
        copy = self.folder / "code"
        shutil.copytree(ROOT / "cluster", copy / "cluster")
        path = os.pathsep.join([str(copy), environment("")["PYTHONPATH"]])
        # Without PYTHONSAFEPATH, the current folder would precede the copy.
        a = await self.start("a", PYTHONPATH=path, PYTHONSAFEPATH="1")
        b = await self.start("b")
        bob, _ = await self.enter(b, "bob")
        ada, _ = await self.enter(a, "ada")
        await self.message(bob, "+ada")
        ada.send("before")
        await self.message(bob, "before")
        with (copy / "cluster" / "uplink" / "scripts" / "beat.lua").open("a") as script:
            script.write("\n-- another version\n")
        before, done = a.pids["broker"], a.line("restarted 2 nodes")
        a.kill(signal.SIGHUP)
        self.assertNotIn("has not changed", (await done).string)
        self.assertNotEqual(a.pids["broker"], before)
        await self.readyz(a, "ready")
        ann, entered = await self.enter(a, "ann")
        self.assertEqual(entered["history"], ["before"])
        await self.message(bob, "+ann")
        ann.send("after")
        await self.message(bob, "after")
        events = [each["text"] for each in (await self.status(b))["events"]]
        self.assertNotIn("machine a is gone", events)

    async def test_a_machine_that_is_killed_and_started_again(self) -> None:
        a, b = await self.start_both()
        bob, _ = await self.enter(b, "bob")
        await self.enter(a, "ada")
        await self.message(bob, "+ada")
        a.kill(signal.SIGKILL)
        await a.end()
        again = await self.start("a")  # the name is free when the lease has ended
        await self.message(bob, "-ada")
        await self.readyz(again, "ready")
        await self.enter(again, "ann")
        await self.message(bob, "+ann")


@once
class StandaloneTests(MachinesTestCase):
    """Brokers and nodes without a supervisor."""

    def launch(self, *arguments: str) -> Program:
        program = Program()
        command = twistd("-n", "--pidfile=", *arguments)
        extra = {**self.state, "DJANGO_SETTINGS_MODULE": SETTINGS}
        start_program(self, program, command, uuid.uuid4().hex, extra=extra)
        return program

    async def test_a_node_of_a_broker_with_an_uplink(self) -> None:
        bus = ("--bus", f"zmq+ipc://{self.folder}/b.ipc")
        broker = self.launch("c10k-broker", *bus, "--uplink", self.redis.url, "--machine", "b")
        await broker.line("c10k-broker ready")
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        stranger = self.launch("c10k-node", *bus, *listen)
        await stranger.line("rejected this node: the broker of machine b accepts only nodes that")
        stranger.kill()
        node = self.launch("c10k-node", *bus, *listen, "--machine", "b")
        port = int((await node.line(r"c10k-node ready: http://127.0.0.1:(\d+)/"))[1])
        cluster = await self.start("a", nodes=1)
        await self.readyz(cluster, "ready")
        ada, _ = await self.enter(cluster, "ada")
        bob = await connect(reactor, f"ws://127.0.0.1:{port}/room/x/?me=bob")
        self.addCleanup(self.leave, bob)
        await self.message(ada, "+bob")
        bob.send("hello")
        await self.message(ada, "hello")
        node.kill()
        await node.end()
        await self.message(ada, "-bob")
        broker.kill()
        await broker.end()
        self.assertNotIn("Traceback", broker.text + node.text)
        await statistics_until(
            cluster, lambda found: found.get("broker") == 0, "c10k_uplink_machines"
        )


@once
class StartTests(MachinesTestCase):
    async def test_a_redis_that_comes_later(self) -> None:
        self.redis.kill()
        cluster = await self.start("a", nodes=1)
        body = await self.readyz(cluster, "degraded")
        self.assertIn("not joined with the other machines yet", body)
        self.assertIn("[broker#warn] uplink connecting: ", cluster.text)
        self.redis.start()
        await self.readyz(cluster, "ready")

    async def refused(self, bus: str, *options: str) -> str:
        """Start a cluster that ends with an error; returns its only line."""
        program = Program()
        command = twistd(
            "-n", "--pidfile=", "c10k", "--listen", "tcp:0:interface=127.0.0.1",
            "--settings", SETTINGS, *options,
        )  # fmt: skip
        start_program(
            self, program, command, uuid.uuid4().hex, extra={**self.state, "C10K_BUS": bus}
        )
        await program.end()
        self.assertEqual(program.status, 1, program.text)
        self.assertEqual(len(program.lines), 1, program.text)
        return program.lines[0]

    async def test_what_cannot_be_used_is_one_line(self) -> None:
        path = self.redis.path
        self.redis.cli("CONFIG", "SET", "requirepass", PASSWORD)
        self.assertIn("refuses the user or the password", await self.refused(f"unix://{path}"))
        text = await self.refused(f"unix://:wrong@{path}")
        self.assertIn("refuses the user or the password", text)
        self.assertNotIn("wrong", text)
        text = await self.refused("redis://:swordfish@nowhere:x")
        self.assertIn("not a valid redis:// URL", text)
        self.assertNotIn(PASSWORD, text)

    async def test_a_name_that_is_in_use_and_the_list_of_processes(self) -> None:
        self.redis.cli("CONFIG", "SET", "requirepass", PASSWORD)
        url = f"unix://:{PASSWORD}@{self.redis.path}"
        cluster = await self.start("a", nodes=1, bus=url)
        await self.readyz(cluster, "ready")
        self.assertIn("'a', is in use", await self.refused(url, "--machine", "a"))
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in cluster.processes()]
        self.assertNotIn(PASSWORD, "".join(commands))
        pages = [(await get(cluster.admin_url + page))[1] for page in ("status.json", "metrics")]
        self.assertIsNone(re.search(PASSWORD, "".join([*pages, cluster.text])))
