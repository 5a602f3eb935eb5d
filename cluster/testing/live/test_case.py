"""LiveClusterTestCase: real nodes for a test class.

::

    class ChatTests(LiveClusterTestCase):
        def test_two_nodes(self):
            with self.connect("/chat/ws/", user=self.anna) as client:
                client.send_json({"message": "hello"})

Use it for tests that need real sockets and processes, for example with browsers, several nodes or
faults. All other tests are faster in memory (``cluster.testing.connect``).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, ClassVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import TransactionTestCase, override_settings

from cluster.django.api import backends
from cluster.testing.conversation import opening
from cluster.testing.cookies import log_in, plain
from cluster.testing.live.client import LiveClient
from cluster.testing.live.socketio_client import LiveSocketIOClient
from cluster.testing.socketio_conversation import with_parameters

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
"""Timeout of start and stop, in seconds; they usually take one or two."""

_READY = re.compile(r"c10k ready: (http\S+?)/[ ,]")
_TWISTD = "from twisted.scripts.twistd import run; run()"


class LiveClusterTestCase(TransactionTestCase):
    """A test case with a cluster on a free port, which runs for the whole class.

    The nodes use the test databases. ``cluster.publish``, called in the test's process, publishes
    to this cluster.

    The test case is a TransactionTestCase: the data of a test is committed, and deleted after the
    test. The nodes are other processes, so they do not see a database in memory,
    ``override_settings`` or mocks.

    Attributes:
        nodes: The number of nodes; override it in your class.
        options: Further options of ``twistd c10k``; override it in your class.
        url: "http://127.0.0.1:PORT".
        ws_url: "ws://127.0.0.1:PORT".
    """

    nodes: ClassVar[int] = 2
    options: ClassVar[Sequence[str]] = ()
    url: ClassVar[str] = ""
    ws_url: ClassVar[str] = ""
    _cluster: ClassVar["_Cluster | None"] = None

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls._cluster = _Cluster(_environment(), cls.nodes, cls.options)
        cls.addClassCleanup(cls._cluster.stop)
        cls.url = cls._cluster.wait_ready()
        cls.ws_url = cls.url.replace("http", "ws", 1)
        port = int(cls.url.rpartition(":")[2])
        cls.enterClassContext(_published_through(port))

    @property
    def log(self) -> str:
        """Return the output of the cluster so far."""
        assert self._cluster is not None
        return self._cluster.text

    def connect(
        self,
        path: str,
        *,
        user: Any = None,
        session: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
    ) -> LiveClient:
        """Connect a WebSocket client through a real socket.

        Close the client, or use it in a ``with`` block.

        Args:
            path: The URL's path, with a query string if necessary.
            user: The user to log in; the configured session engine saves the session.
            session: Values for the session.
            headers: Further headers of the handshake.
            cookies: A dict, or the ``cookies`` of Django's test client.
            subprotocols: The subprotocols that the client offers, best first.
            origin: The Origin header of a browser. Without it the client is no browser, and its
                origin is not checked.

        Returns:
            The client, whose methods block.

        Raises:
            Refused: The server does not accept the handshake.
        """
        found = plain(cookies or {})
        if user is not None or session:
            found |= log_in(user, session)
        host, _, port = self.url.removeprefix("http://").partition(":")
        request = opening(path, f"{host}:{port}", headers or {}, found, subprotocols, origin)
        return LiveClient((host, int(port)), request)

    def connect_socketio(
        self, path: str, namespace: str = "/", *, auth: Any = None, **options: Any
    ) -> LiveSocketIOClient:
        """Connect a Socket.IO client through a real socket.

        Close the client, or use it in a ``with`` block.

        Args:
            path: The path of the server, with a query string if necessary.
            namespace: The name of the namespace.
            auth: What ``on_connect`` receives as ``auth``: a dict.
            **options: Those of ``connect``: user, session, headers, cookies, origin.

        Returns:
            The client, whose methods block.

        Raises:
            ConnectionRefused: The namespace refuses the client.
            Refused: The server does not accept the handshake.
        """
        client = self.connect(with_parameters(path), **options)
        return LiveSocketIOClient(client, namespace, auth)


@contextmanager
def _published_through(port: int) -> Iterator[None]:
    """Make publish() in this process use the cluster with this first port."""
    own = {**getattr(settings, "C10K", {}), "CLUSTER_PORT": port}
    with override_settings(C10K=own), backends.installed(None):
        yield


class _Cluster:
    """The cluster's process, and the folder for its sockets.

    While the cluster runs, XDG_RUNTIME_DIR of this process is that folder, so publish() finds it.
    """

    def __init__(self, environment: Mapping[str, str], nodes: int, options: Sequence[str]) -> None:
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._url: str | None = None
        self._runtime = tempfile.mkdtemp(prefix="c10k-")
        self._before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = self._runtime
        command = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "c10k"]
        command += ["--nodes", str(nodes), "--listen", "tcp:0:interface=127.0.0.1"]
        command += ["--settings", "cluster.testing.live.settings", *options]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def wait_ready(self) -> str:
        """Wait until all nodes serve, and return the URL; raises RuntimeError with the output."""
        self._ready.wait(START_TIMEOUT_S)
        if self._url is None:
            raise RuntimeError(f"the cluster did not start:\n{self.text}")
        return self._url

    def stop(self) -> None:
        """Stop the cluster with all its processes."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_TIMEOUT_S)
        if self._before is None:
            os.environ.pop("XDG_RUNTIME_DIR", None)
        else:
            os.environ["XDG_RUNTIME_DIR"] = self._before
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._lines.append(line)
                if match := _READY.search(line):
                    self._url = match[1]
                    self._ready.set()
        self._ready.set()


def _environment() -> dict[str, str]:
    """Return the environment variables with the nodes' settings and databases.

    Raises ImproperlyConfigured if the nodes could not use them.
    """
    names = {}
    for alias in connections:
        connection = connections[alias]
        name = str(connection.settings_dict["NAME"])
        if connection.vendor == "sqlite" and (":memory:" in name or "mode=memory" in name):
            raise ImproperlyConfigured(
                f"LiveClusterTestCase: the test database {alias!r} is in this process's memory,"
                " where the nodes cannot read it. Give it a file in the settings:"
                f' DATABASES[{alias!r}]["TEST"] = {{"NAME": BASE_DIR / "test.sqlite3"}}'
            )
        names[alias] = name
    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module or not settings.configured:
        raise ImproperlyConfigured("LiveClusterTestCase needs DJANGO_SETTINGS_MODULE")
    return {
        "C10K_LIVE_SETTINGS": module,
        "C10K_LIVE_DATABASES": json.dumps(names),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONUNBUFFERED": "1",
    }
