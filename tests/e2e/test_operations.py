"""Real clusters: start, stop, killed processes, and a second cluster on the same port."""

import os
import re
import shutil
import signal
import socket
import tempfile
import uuid
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim
from tests.e2e.asking import get, get_until, metrics, ready, until
from tests.e2e.processes import (
    PATIENCE_S,
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    environment,
    kill_if_there,
    marked_processes,
    no_orphans,
    process_end,
    reactor,
    start_cluster,
    start_program,
    twistd,
)

AT_ONCE_S = 9.0
"""Seconds for an end without draining: less than the 10 s of --drain-timeout. On an idle machine it
takes milliseconds."""


def runtime_folder(cluster: Cluster) -> Path:
    return cluster.runtime / f"c10k-{os.getuid()}" / str(cluster.port)


class OperationsTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def assert_port_free(self, port: int) -> None:
        claim(parse_address(f"tcp:{port}:interface=127.0.0.1")).close()

    async def test_a_cluster_starts_and_stops(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        await ready(cluster.admin_url)
        self.assertEqual(await get(cluster.admin_url + "healthz"), (200, "ok\n"))
        page = await metrics(cluster.admin_url)
        for line in (
            'c10k_up{node="broker"} 1.0',
            'c10k_up{node="node1"} 1.0',
            'c10k_connections{node="node0"} 0.0',
            'c10k_broker_nodes{node="broker"} 2.0',
        ):
            self.assertIn(line, page)
        self.assertEqual(len(cluster.processes()), 4)
        self.assertTrue(runtime_folder(cluster).is_dir())
        self.assertEqual(runtime_folder(cluster).stat().st_mode & 0o777, 0o700)
        cluster.kill()
        await cluster.end()
        self.assertEqual(cluster.signal, signal.SIGTERM)
        self.assertEqual(cluster.processes(), [])
        self.assertFalse(runtime_folder(cluster).exists())
        self.assert_port_free(cluster.port)
        order = re.findall(r"(node0|node1|broker) stopped", cluster.text)
        self.assertEqual(order[-1], "broker")
        self.assertEqual(len(order), 3)

    async def test_one_node_needs_no_broker(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1")
        self.assertEqual(len(cluster.processes()), 2)
        await ready(cluster.admin_url)

    async def test_a_killed_node_is_replaced_on_the_same_port(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        first = cluster.pids["node0"]
        again = cluster.line(r"node0 ready")
        os.kill(first, signal.SIGKILL)
        await again
        self.assertNotEqual(cluster.pids["node0"], first)
        await ready(cluster.admin_url)
        page = await metrics(cluster.admin_url)
        self.assertIn('c10k_starts_total{node="node0"} 2.0', page)
        self.assertIn('c10k_starts_total{node="node1"} 1.0', page)

    async def test_connections_queued_for_a_killed_node_are_answered_by_its_replacement(
        self,
    ) -> None:
        cluster = await start_cluster(self, "--nodes", "1")
        node = cluster.pids["node0"]
        os.kill(node, signal.SIGSTOP)
        answers = gatherResults([Deferred.fromCoroutine(get(cluster.base_url)) for _ in range(20)])
        # The kernel connects, although no process accepts.
        socket.create_connection(("127.0.0.1", cluster.port), PATIENCE_S).close()
        os.kill(node, signal.SIGKILL)
        for code, _ in await answers:
            self.assertLess(code, 500)

    async def test_a_killed_broker_is_restarted_and_the_nodes_return(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        nodes = {name: cluster.pids[name] for name in ("node0", "node1")}
        again = cluster.line(r"broker ready")
        os.kill(cluster.pids["broker"], signal.SIGKILL)
        await again
        await ready(cluster.admin_url)
        self.assertEqual({name: cluster.pids[name] for name in nodes}, nodes)

    async def test_a_deleted_runtime_folder_is_made_again(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        await ready(cluster.admin_url)
        folder = runtime_folder(cluster)
        shutil.rmtree(folder)
        again = [
            cluster.line("the runtime folder .* was gone; made it again"),
            *(
                cluster.line(f"{name} was gone; listening there again")
                for name in ("control.sock", "broker.ipc", "publish-0-.*.sock", "publish-1-.*.sock")
            ),
        ]
        await gatherResults(again)
        await ready(cluster.admin_url)
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual({path.stat().st_mode & 0o777 for path in folder.iterdir()}, {0o600})
        # Processes that are replaced now find the sockets.
        again = [cluster.line(f"{name} ready") for name in ("broker", "node0")]
        for name in ("broker", "node0"):
            os.kill(cluster.pids[name], signal.SIGKILL)
        await gatherResults(again)
        await ready(cluster.admin_url)

    async def test_a_folder_that_cannot_be_made_again_is_reported(self) -> None:
        """The end of a login session deletes the folder's parent, too."""
        cluster = await start_cluster(self, "--nodes", "1")
        parent = runtime_folder(cluster).parent
        shutil.rmtree(parent)
        parent.touch()  # as if it could not be created
        body = await get_until(cluster.admin_url + "readyz", 503)
        self.assertIn("the runtime folder", body)
        failed = cluster.line("cannot start: no connection to the supervisor at .*control.sock")
        os.kill(cluster.pids["node0"], signal.SIGKILL)
        await failed
        parent.unlink()
        await ready(cluster.admin_url)

    async def test_children_do_not_outlive_a_killed_supervisor(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        ends = [process_end(pid) for pid in cluster.pids.values()]
        cluster.kill(signal.SIGKILL)
        await gatherResults(ends).addTimeout(AT_ONCE_S, reactor)
        await cluster.end()  # the kernel may close its sockets one after the other
        self.assert_port_free(cluster.port)
        # The files left in the runtime folder do not prevent the next start.
        listen = f"tcp:{cluster.port}:interface=127.0.0.1"
        self.assertTrue(runtime_folder(cluster).exists())
        extra = {"XDG_RUNTIME_DIR": str(cluster.runtime)}
        await start_cluster(self, "--nodes", "2", "--admin", "tcp:0", listen=listen, extra=extra)

    async def test_a_second_cluster_on_the_same_port_is_refused(self) -> None:
        first = await start_cluster(self, "--nodes", "1")
        second = Program()
        command = twistd("-n", "--pidfile=", "c10k", "--listen", f"tcp:{first.port}")
        start_program(self, second, command, uuid.uuid4().hex)
        await second.end()
        self.assertEqual(second.status, 1)
        self.assertIn(f"cannot listen on 0.0.0.0:{first.port}: another program", second.lines[-1])
        self.assertNotIn("Traceback", second.text)
        await ready(first.admin_url)
        self.assertTrue(runtime_folder(first).is_dir())

    async def test_two_clusters_run_on_different_ports(self) -> None:
        one, other = await gatherResults(
            [start_cluster(self, "--nodes", "1"), start_cluster(self, "--nodes", "1")]
        )
        self.assertNotEqual(one.port, other.port)
        one.kill()
        await one.end()
        await ready(other.admin_url)

    async def test_a_cluster_stops_during_its_start(self) -> None:
        for pattern in (r"up to .* connections", r"ready \(process"):
            started: list[Cluster] = []
            ready = start_cluster(self, "--nodes", "2", on_spawn=started.append)
            ready.addErrback(lambda _: None)
            await started[0].line(pattern)
            started[0].kill()
            await started[0].end()
            await no_orphans(self, started[0].mark)
            self.assertNotIn("Traceback", started[0].text)

    async def test_a_second_signal_during_the_stop_is_ignored(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        stopping = cluster.line("c10k#info. stopping")
        cluster.kill(signal.SIGINT)
        await stopping
        cluster.kill(signal.SIGTERM)
        await cluster.end()
        self.assertNotIn("Traceback", cluster.text, cluster.text)
        self.assertEqual(cluster.processes(), [])

    async def test_sigterm_to_all_processes_at_once(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2")
        for pid in cluster.processes():
            kill_if_there(pid, signal.SIGTERM)  # the first signal may have ended the others
        await cluster.end()
        self.assertNotIn("Traceback", cluster.text, cluster.text)
        self.assertEqual(cluster.processes(), [])

    async def test_a_view_that_does_not_return_ends_with_the_drain_timeout(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        (folder / "slow_site.py").write_text(
            "import threading\n"
            "from django.urls import path\n"
            "SECRET_KEY = 'x'\n"
            "ALLOWED_HOSTS = ['*']\n"
            "ROOT_URLCONF = 'slow_site'\n"
            "def view(request):\n"
            "    print('the view runs', flush=True)\n"
            "    threading.Event().wait()\n"
            "urlpatterns = [path('', view)]\n"
        )
        cluster = await start_cluster(
            self, "--nodes", "1", "--settings", "slow_site", "--drain-timeout", "0.5",
            extra={"PYTHONPATH": os.pathsep.join([str(folder), environment("")["PYTHONPATH"]])},
        )  # fmt: skip
        running = cluster.line("the view runs")
        answer = Deferred.fromCoroutine(get(cluster.base_url))
        answer.addErrback(lambda _: None)  # the connection will be aborted
        await running
        cluster.kill()
        await cluster.end()
        await answer
        self.assertIn("views still run at the end of the drain timeout; leaving them", cluster.text)
        self.assertEqual(cluster.processes(), [])

    async def test_a_daemon_starts_and_stops(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        log, pidfile = folder / "log", folder / "pid"
        start = Cluster()
        command = twistd(f"--pidfile={pidfile}", f"--logfile={log}", "c10k", "--nodes", "2")
        command += ["--listen", "tcp:0:interface=127.0.0.1"]
        start_program(self, start, command, start.mark)

        def clean_up() -> None:
            for pid in start.processes():
                kill_if_there(pid, signal.SIGKILL)

        self.addCleanup(clean_up)
        await start.end()
        self.assertEqual(start.status, 0, start.text)

        def admin_url() -> str:
            match = re.search(r"c10k ready: .*admin (http\S+)", log.read_text())
            self.assertTrue(match or start.processes(), log.read_text())
            return match[1] if match else ""

        await until(admin_url, log.read_text)
        await ready(admin_url())
        supervisor = int(pidfile.read_text())
        ended = process_end(supervisor)
        os.kill(supervisor, signal.SIGTERM)
        await ended.addTimeout(PATIENCE_S, reactor)
        self.assertEqual(marked_processes(start.mark), [])
        self.assertFalse(pidfile.exists())
