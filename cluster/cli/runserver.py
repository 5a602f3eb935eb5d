"""A node under Django's own ``manage.py runserver``.

``DevelopmentServer`` is the server class of that command; the options, the banner, the checks and
the autoreloader are Django's. The server runs one node, without a broker: handlers, topics and
views behave as in a cluster.

With the autoreloader the node runs in a thread, because Django watches the files in the main
thread. The node stops when the interpreter does.
"""

import atexit
import contextlib
import logging
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any
from wsgiref.types import WSGIApplication

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from zope.interface import provider

from cluster.cli import process_setup
from cluster.core.exceptions import ConfigurationError
from cluster.logs.formats import exception_of, level_of, message_of
from cluster.logs.python_logging import LEVELS, PythonLogging, attach_root_handler
from cluster.logs.untrusted_text import escape
from cluster.net.listening_sockets import BACKLOG
from cluster.net.runtime_directory import RuntimeDirectory
from cluster.net.websocket.connection import ServerConnection
from cluster.node.config import ListeningSocket, NodeConfig
from cluster.node.node import Node

DRAIN_TIMEOUT_S = 1.0
"""The drain timeout, in seconds: a developer waits for it after each change of a file."""

EXIT_TIMEOUT_S = DRAIN_TIMEOUT_S + 1.0

_server_log = logging.getLogger("django.server")


class DevelopmentServer:
    """One node on one address: Django calls ``set_app``, then ``serve_forever``.

    Django adds ThreadingMixIn as a base class unless ``--nothreading`` is given.

    Args:
        address: Host and port.
        handler: Django's request handler, which is not used.
        ipv6: Whether the host is an IPv6 address.

    Raises:
        OSError: The socket cannot be bound to the address.
    """

    def __init__(self, address: tuple[str, int], handler: object, ipv6: bool = False) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._application: WSGIApplication
        self._failure: Failure | None = None
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(BACKLOG)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self.server_port: int = self._socket.getsockname()[1]

    def set_app(self, application: WSGIApplication) -> None:
        """Set the WSGI application, which may also serve static files."""
        self._application = application

    def serve_forever(self) -> None:
        """Run the reactor until the process stops.

        Raises KeyboardInterrupt after Ctrl-C, and the error of a node that could not start.
        """
        if "twisted.internet.reactor" not in sys.modules:
            process_setup.install_asyncio_reactor()
        from twisted.internet import reactor

        run: Any = reactor
        if not hasattr(run, "_asyncioEventloop"):
            raise ConfigurationError(
                f"a node needs the asyncio reactor, but {type(run).__name__} is installed already:"
                " a module of the site imports twisted.internet.reactor"
            )
        process_setup.use_monotonic_clock(run)
        _log_as_django_does()
        self._runtime = self._claim_folder()
        self._node = self._make_node(run)
        run.callWhenRunning(self._start, run)
        run.addSystemEventTrigger("before", "shutdown", self._stop)
        if threading.current_thread() is threading.main_thread():
            process_setup.stop_on_first_signal(run)
            run.addSystemEventTrigger("before", "shutdown", _leave_running_views)
            run.run()
            interrupted = getattr(run, "_exitSignal", None) is not None
        else:
            ended = threading.Event()
            atexit.register(_stop_and_wait, run, ended)
            try:
                run.run(installSignalHandlers=False)
            finally:
                ended.set()
            interrupted = False
        if self._failure is not None:
            self._failure.raiseException()
        if interrupted:
            raise KeyboardInterrupt

    def _claim_folder(self) -> RuntimeDirectory:
        try:
            return RuntimeDirectory.claim(self.server_port, os.environ, os.getuid())
        except ConfigurationError as error:
            raise OSError(str(error)) from None  # runserver prints an OSError as one line

    def _make_node(self, reactor: Any) -> "DevelopmentNode":
        from django.conf import settings

        from cluster.django import conf

        ours = conf.load()
        config = NodeConfig(
            name="runserver",
            settings=settings.SETTINGS_MODULE,
            ping_interval=ours["PING_INTERVAL"],
            ping_timeout=ours["PING_TIMEOUT"],
            max_message_size=ours["MAX_MESSAGE_SIZE"],
            drain_timeout=DRAIN_TIMEOUT_S,
            proxy_headers=ours["PROXY_HEADERS"],
            publish_socket=self._runtime.publish_socket(0, os.getpid()),
        )
        family = self._socket.family
        listening = ListeningSocket(self._socket.detach(), family, f"tcp:{self.server_port}")
        threads = None if isinstance(self, socketserver.ThreadingMixIn) else 1
        return DevelopmentNode(config, listening, reactor, self._application, threads)

    def _start(self, reactor: Any) -> None:
        def failed(failure: Failure) -> None:
            self._failure = failure
            reactor.stop()

        self._node.ready.addErrback(failed)
        self._node.startService()

    def _stop(self) -> "Deferred[Any]":
        stopped = maybeDeferred(self._node.stopService if self._node.running else lambda: None)
        return stopped.addBoth(self._release)

    def _release(self, result: Any) -> Any:
        self._runtime.release()
        return result


class DevelopmentNode(Node):
    """A node that serves the application of runserver, and logs requests as Django's server does.

    Args:
        config: The node's configuration.
        listening_socket: The socket to serve on.
        reactor: An asyncio reactor.
        application: The WSGI application.
        threads: The number of views that may run at the same time; None: from the settings.
    """

    def __init__(
        self,
        config: NodeConfig,
        listening_socket: ListeningSocket,
        reactor: Any,
        application: WSGIApplication,
        threads: int | None = None,
    ) -> None:
        super().__init__(config, [listening_socket], reactor)
        self._wsgi = application
        self._threads = threads

    def _application(self) -> WSGIApplication:
        return self._wsgi

    def _assemble(self) -> None:
        super()._assemble()
        site, factory = self.http.site, self.websockets.connection_factory
        if self._threads is not None:
            site.pool.max = self._threads
        site.on_response = _log_request
        opened, closed = factory.on_open, factory.on_close

        def log_opened(connection: ServerConnection) -> None:
            _log_line(101, '"WebSocket %s" opened', escape(connection.http_request_uri))
            opened(connection)

        def log_closed(connection: ServerConnection, code: int, was_clean: bool) -> None:
            _log_line(code, '"WebSocket %s" closed %d', escape(connection.http_request_uri), code)
            closed(connection, code, was_clean)

        factory.on_open, factory.on_close = log_opened, log_closed


def _log_request(request: HTTPRequest) -> None:
    line = b"%s %s %s" % (request.method, request.uri, request.clientproto)
    text = escape(line.decode("latin-1"))
    _log_line(request.code, '"%s" %d %d', text, request.code, request.sentLength)


def _log_line(status: int, text: str, *values: object) -> None:
    """Log a request or a WebSocket connection. Django's formatter colours it by ``status``."""
    bad = logging.ERROR if status in range(500, 600) else logging.WARNING
    level = bad if status in range(400, 600) else logging.INFO
    _write_line(level, text, *values, status_code=status if status < 600 else 200)


def _write_line(level: int, text: str, *values: object, **extra: object) -> None:
    now = datetime.now().strftime("%d/%b/%Y %H:%M:%S")
    _server_log.log(level, text, *values, extra={"server_time": now, **extra})


def _log_as_django_does() -> None:
    """Forward the node's log (refused handshakes, start-up errors) to Django's server logger, and
    errors to LOGGING; also those that LOGGING has no handler for are printed."""
    python_logging = PythonLogging()
    attach_root_handler(globalLogPublisher)

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        if python_logging.forward(event):
            return
        text = f"{message_of(event)}\n{exception_of(event)}"
        _write_line(LEVELS[level_of(event)], "%s", text.rstrip())

    predicate: Any = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace("cluster", LogLevel.info)
    filtering: Any = FilteringLogObserver(observer, [predicate])
    globalLogBeginner.beginLoggingTo([filtering], redirectStandardIO=False)


def _leave_running_views() -> None:
    process_setup.hard_exit_after(DRAIN_TIMEOUT_S, lambda: os._exit(0))


def _stop_and_wait(reactor: Any, ended: threading.Event) -> None:
    """Stop the node before the interpreter exits, so that its clients receive a Close frame."""
    if not ended.is_set():
        reactor.callFromThread(_stop_once, reactor.stop)
        ended.wait(EXIT_TIMEOUT_S)


def _stop_once(stop: Callable[[], None]) -> None:
    from twisted.internet.error import ReactorNotRunning

    with contextlib.suppress(ReactorNotRunning):  # it is stopping already
        stop()
