"""Rolling restarts of real clusters."""

import contextlib
import io
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from benchmarks import restart as benchmark
from tests.e2e.asking import get, ready
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    environment,
    kill_if_there,
    process_end,
    reactor,
    start_cluster,
)
from tests.e2e.wsclient import Client, connect
from tests.once import once

SITE = """
import os, threading
from django.http import HttpResponse
from django.urls import path
from cluster import websocket
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "restart_site"
INSTALLED_APPS = ["cluster.django"]
C10K = {settings}
def view(request):
    return HttpResponse("{version} " + str(os.getpid()))
def slow(request):
    print("the view runs", flush=True)
    while not os.path.exists(os.environ["RESTART_GATE"]):
        threading.Event().wait(0.01)
    return HttpResponse("{version} slow")
@websocket
async def echo(ws):
    await ws.send("{version}")
    async for message in ws:
        await ws.send(message)
urlpatterns = [path("", view), path("slow/", slow), path("echo/", echo)]
"""


@once
class LoadTests(SynchronousTestCase):
    """The benchmark with few clients; its defaults are those of a real site."""

    timeout = TEST_TIMEOUT_S

    def restart(self, *options: str) -> str:
        """Run the benchmark; returns what it prints."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = benchmark.main(
                ["--nodes", "2", "--restarts", "1", "--spread", "1", "--holders", "50",
                 "--connectors", "10", "--requesters", "4", "--subscribers", "5", *options]
            )  # fmt: skip
        self.assertEqual(status, 0, output.getvalue())
        return output.getvalue()

    def test_nothing_is_refused_reset_or_missed(self) -> None:
        self.restart()

    def test_nothing_is_refused_reset_or_missed_behind_nginx(self) -> None:
        if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise SkipTest("nginx is not installed (apt-get install nginx)")
        self.restart("--nginx")

    def test_nothing_is_refused_or_reset_under_full_load(self) -> None:
        if shutil.which("wrk") is None:
            raise SkipTest("wrk is not installed (apt-get install wrk)")
        self.assertRegex(self.restart("--wrk"), r"[1-9][\d,]*  requests of wrk\n")


@once
class RestartTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.gate = self.folder / "gate"

    def deploy(self, version: str, settings: str = "{'RESTART_SPREAD': 0.5}") -> None:
        text = SITE.replace("{version}", version).replace("{settings}", settings)
        (self.folder / "restart_site.py").write_text(text)
        # The source's time and size decide whether Python reads its cached bytecode.
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    async def start(self, nodes: int = 2) -> Cluster:
        self.deploy("one")
        path = os.pathsep.join([str(self.folder), environment("")["PYTHONPATH"]])
        return await start_cluster(
            self, "--nodes", str(nodes), "--settings", "restart_site",
            extra={"PYTHONPATH": path, "RESTART_GATE": str(self.gate)},
        )  # fmt: skip

    async def open(self, cluster: Cluster) -> Client:
        return await connect(reactor, f"ws://127.0.0.1:{cluster.port}/echo/")

    async def test_new_code_is_served_and_nothing_is_refused(self) -> None:
        cluster = await self.start()
        before = dict(cluster.pids)
        clients = [await self.open(cluster) for _ in range(8)]
        half_open = socket.create_connection(("127.0.0.1", cluster.port))
        self.addCleanup(half_open.close)
        half_open.sendall(b"GET / HTTP/1.1\r\n")
        running = cluster.line("the view runs")
        slow = Deferred.fromCoroutine(get(cluster.base_url + "slow/"))
        await running
        self.deploy("two")
        done = cluster.line("restarted 2 nodes")
        cluster.kill(signal.SIGHUP)
        answers = []
        while not done.called:
            code, text = await get(cluster.base_url)
            self.assertEqual(code, 200)
            answers.append(text.split()[0])
            if answers[-1] == "two" and not self.gate.exists():
                half_open.sendall(b"Host: a\r\nConnection: close\r\n\r\n")
                self.gate.touch()
        await done
        self.assertEqual({answers[0], answers[-1]}, {"one", "two"})
        self.assertEqual(await slow, (200, "one slow"))
        self.assertTrue(half_open.recv(4096).startswith(b"HTTP/1.1 200 "))
        for closed in await gatherResults([client.closed for client in clients]):
            self.assertEqual((closed.code, closed.reason), (1012, "the server is restarting"))
        client = await self.open(cluster)
        self.assertEqual(await client.next_message(), "two")
        await client.close()
        self.assertTrue(all(before[name] != cluster.pids[name] for name in ("node0", "node1")))
        self.assertEqual(before["broker"], cluster.pids["broker"])
        await ready(cluster.admin_url)

    async def test_code_that_cannot_be_loaded_leaves_the_old_nodes_serving(self) -> None:
        cluster = await self.start()
        before = dict(cluster.pids)
        self.deploy("two", settings="{'RESTART_SPRAED': 1}")
        ended = cluster.line("the restart has ended early: (.*)")
        cluster.kill(signal.SIGHUP)
        reason = (await ended)[1]
        self.assertIn("node0 cannot start", reason)
        self.assertIn("did you mean 'RESTART_SPREAD'", reason)
        self.assertEqual(cluster.pids, before)
        self.assertTrue((await get(cluster.base_url))[1].startswith("one "))
        await ready(cluster.admin_url)
        self.deploy("two")
        done = cluster.line("restarted 2 nodes")
        cluster.kill(signal.SIGHUP)
        await done
        self.assertTrue((await get(cluster.base_url))[1].startswith("two "))

    async def test_sigquit_during_a_restart_is_one_clean_exit(self) -> None:
        cluster = await self.start()
        client = await self.open(cluster)
        closing = cluster.line("node0 ready")
        cluster.kill(signal.SIGHUP)
        await closing
        cluster.kill(signal.SIGQUIT)
        await cluster.end()
        self.assertEqual((cluster.status, cluster.processes()), (0, []))
        self.assertIn((await client.closed).code, (1001, 1012))
        self.assertNotIn("Traceback", cluster.text, cluster.text)
        self.assertNotIn("SIGKILL", cluster.text)

    async def test_a_node_that_is_killed_during_a_restart_is_replaced(self) -> None:
        cluster = await self.start()
        done = cluster.line("restarted 2 nodes")
        begun = cluster.line("restarting 2 nodes")
        cluster.kill(signal.SIGHUP)
        await begun
        for name in ("node0", "node1"):
            os.kill(cluster.pids[name], signal.SIGKILL)
        await done
        await ready(cluster.admin_url)
        self.assertEqual(len(cluster.processes()), 4)

    async def test_a_spare_process_takes_the_place_of_a_killed_node(self) -> None:
        self.deploy("one")
        path = os.pathsep.join([str(self.folder), environment("")["PYTHONPATH"]])
        cluster = await start_cluster(
            self, "--nodes", "2", "--settings", "restart_site", "--spare",
            extra={"PYTHONPATH": path},
        )  # fmt: skip
        if "spare" not in cluster.pids:
            await cluster.line("spare ready")
        for version in ("one", "two"):
            spare = cluster.pids["spare"]
            again = cluster.line("node0 ready")
            os.kill(cluster.pids["node0"], signal.SIGKILL)
            await again
            self.assertEqual(cluster.pids["node0"], spare)
            self.assertTrue((await get(cluster.base_url))[1].startswith(version))
            await ready(cluster.admin_url)
            if version == "one":
                if cluster.pids["spare"] == spare:
                    await cluster.line("spare ready")
                self.deploy("two")
                done, loaded = cluster.line("restarted 2 nodes"), cluster.line("spare ready")
                cluster.kill(signal.SIGHUP)
                await gatherResults([done, loaded])
        self.assertIn("node0: the spare process takes its place", cluster.text)
        cluster.kill()
        await cluster.end()
        self.assertEqual(cluster.processes(), [])
        self.assertNotIn("Traceback", cluster.text)

    async def test_signals_to_a_node_or_the_broker_are_logged_and_lose_nothing(self) -> None:
        cluster = await self.start()
        for name in ("broker", "node0"):
            ignored = cluster.line(rf"{name}#info. SIGHUP ignored")
            os.kill(cluster.pids[name], signal.SIGHUP)
            await ignored
        ignored = cluster.line(r"broker#info. SIGQUIT ignored")
        os.kill(cluster.pids["broker"], signal.SIGQUIT)
        await ignored
        node = cluster.pids["node0"]
        again, ended = cluster.line("node0 ready"), process_end(node)
        kill_if_there(node, signal.SIGQUIT)
        await ended
        await again
        self.assertIn("node0 ended (exit status 0)", cluster.text)
        await ready(cluster.admin_url)
