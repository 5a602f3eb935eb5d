"""The map of the cluster: who may see it, and what its buttons do."""

import os
import signal
import subprocess
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.test import Client  # noqa: E402 - Django's modules want its settings first
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import NotRunning  # noqa: E402
from django_project.topology import access, views  # noqa: E402

STATUS = {
    "state": "ready",
    "processes": [{"name": "node2", "pid": 4711}, {"name": "node3", "pid": None}],
}


class TopologyTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")
        self.patch(views, "operate", lambda command: STATUS)
        self.patch(os, "environ", {**os.environ, access.TOKEN: "secret"})
        self.killed: list[tuple[int, int]] = []
        self.patch(views.os, "kill", lambda pid, number: self.killed.append((pid, number)))

    def kill(
        self, process: str = "node2", token: str = "secret", pid: str = "4711", **extra: Any
    ) -> int:
        form = {"process": process, "pid": pid, "token": token}
        return int(self.client.post("/cluster/kill/", form, **extra).status_code)

    def test_a_browser_on_this_machine_sees_the_map(self) -> None:
        self.assertEqual(200, self.client.get("/cluster/").status_code)
        self.assertEqual(STATUS, self.client.get("/cluster/status/").json())

    def test_others_do_not(self) -> None:
        for path in ("/cluster/", "/cluster/status/"):
            for extra in (
                {"REMOTE_ADDR": "192.0.2.7"},
                {"REMOTE_ADDR": ""},
                {"headers": {"X-Forwarded-For": "127.0.0.1"}},
            ):
                self.assertEqual(403, self.client.get(path, **extra).status_code, extra)
        self.assertEqual(403, self.kill(REMOTE_ADDR="192.0.2.7"))
        self.assertEqual(
            403, self.client.post("/cluster/play/", REMOTE_ADDR="192.0.2.7").status_code
        )
        self.assertEqual([], self.killed)

    def test_a_process_is_killed_by_its_name(self) -> None:
        self.assertEqual(200, self.kill())
        self.assertEqual([(4711, signal.SIGKILL)], self.killed)
        for name in ("node3", "node9", "", "supervisor"):
            self.assertEqual(409, self.kill(name))
        self.assertEqual(409, self.kill("node3", pid="None"))
        for pid in ("4712", "", "x"):  # as after a request that was sent twice
            self.assertEqual(409, self.kill(pid=pid))
        self.assertEqual(1, len(self.killed))

    def test_without_the_token_of_this_run(self) -> None:
        for token in ("", "wrong"):
            self.assertEqual(403, self.kill(token=token))
        self.patch(os, "environ", {})
        self.assertEqual(403, self.kill(token=""))
        self.assertEqual([], self.killed)

    def test_without_the_csrf_token(self) -> None:
        self.client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
        self.assertEqual(403, self.kill())

    def test_without_a_supervisor(self) -> None:
        def refuse(command: str) -> Any:
            raise NotRunning("this node has no supervisor")

        self.patch(views, "operate", refuse)
        self.assertEqual(503, self.client.get("/cluster/status/").status_code)
        self.assertEqual(503, self.kill())

    def test_a_small_game_is_started_on_this_port(self) -> None:
        started: list[list[str]] = []
        self.patch(subprocess, "Popen", lambda command, **kwargs: started.append(command))
        response = self.client.post("/cluster/play/", SERVER_PORT="8123")
        self.assertEqual(200, response.status_code)
        self.assertIn("ws://127.0.0.1:8123/", started[0])
