"""The admin port: ``/healthz``, ``/readyz``, ``/metrics`` and the status page of the whole cluster.

It serves plain HTTP to probes and Prometheus, by default on loopback, and changes nothing. For each
request of /readyz or /metrics the supervisor asks every child, so that the response is up to date.
A child that does not answer within a second is left out.
"""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from cluster.net.addresses import Address
from cluster.net.listening_sockets import claim
from cluster.supervisor.deferred_response import respond
from cluster.supervisor.heartbeat import Statistics
from cluster.supervisor.metrics import CONTENT_TYPE, exposition
from cluster.supervisor.status.host_check import Checked, HostNames
from cluster.supervisor.status.status_page import add_to
from cluster.supervisor.status.uplink import degraded

REQUEST_TIMEOUT_S = 30
"""Seconds until an idle connection to the admin port is closed. Prometheus scrapes every 15 s."""


class Source(Protocol):
    """The methods of the supervisor that the admin port calls."""

    def survey(self) -> "Deferred[Statistics]":
        """The statistics of every child; None for a child that does not answer."""

    def missing(self, statistics: Statistics) -> list[str]:
        """The reasons why the cluster is not ready, as phrases; empty if it is ready."""

    def starts(self) -> Mapping[str, int]:
        """How often each child has been started."""

    def own_statistics(self) -> Mapping[str, Any]:
        """The statistics of the supervisor itself."""

    def status_document(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""


class _Text(Resource):
    """A page that never changes."""

    def __init__(self, body: bytes, content_type: bytes = b"text/plain; charset=utf-8") -> None:
        super().__init__()
        self._body = body
        self._content_type = content_type

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._content_type)
        return self._body


class _Surveyed(Checked):
    """A page that is generated from the statistics of all children."""

    def __init__(self, source: Source, hosts: HostNames) -> None:
        super().__init__(hosts)
        self.source = source

    def render_GET(self, request: Request) -> int:
        return respond(request, self.source.survey().addCallback(self.page))

    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        """Return the status, the content type and the body."""
        raise NotImplementedError


class _Ready(_Surveyed):
    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        missing = self.source.missing(statistics)
        if missing:
            body = f"not ready: {'; '.join(missing)}\n"
        else:  # a degraded cluster serves its clients, so a proxy shall not avoid it
            reasons = degraded(statistics)
            body = f"degraded: {'; '.join(reasons)}\n" if reasons else "ready\n"
        return 503 if missing else 200, b"text/plain; charset=utf-8", body.encode()


class _Metrics(_Surveyed):
    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        return (
            200,
            CONTENT_TYPE,
            exposition(statistics, self.source.starts(), self.source.own_statistics()),
        )


class _AdminRequest(Request):
    """A request whose response does not name the server."""

    def setHeader(self, name: bytes, value: bytes) -> None:
        if name != b"Server":
            super().setHeader(name, value)


class _AdminSite(Site):
    """A Site that does not log requests: probes and scrapes arrive every few seconds."""

    def logPrefix(self) -> str:
        return "admin port"

    def log(self, request: HTTPRequest) -> None:
        pass


def make_site(source: Source, hosts: HostNames) -> Site:
    """Return the factory for the admin port. /healthz has no content, and answers to any name."""
    root: Any = Resource()
    add_to(root, source.status_document, hosts)
    root.putChild(b"healthz", _Text(b"ok\n"))
    root.putChild(b"readyz", _Ready(source, hosts))
    root.putChild(b"metrics", _Metrics(source, hosts))
    site = _AdminSite(root, requestFactory=_AdminRequest, timeout=REQUEST_TIMEOUT_S)
    site.noisy = False
    site.displayTracebacks = False
    return site


class AdminPort:
    """Call ``claim`` first, ``listen`` when the cluster starts, and ``stop`` at the end.

    Args:
        wanted: The address.
        reactor: The reactor.
        hosts: Names by which it may be addressed, besides those of this machine.
    """

    def __init__(self, wanted: Address, reactor: Any, hosts: Sequence[str] = ()) -> None:
        self.address = wanted
        """The address, with its real port when it is claimed."""
        self._reactor = reactor
        self._hosts = hosts
        self._socket: socket.socket | None = None
        self._port: Any = None

    def claim(self) -> None:
        """Open the socket. Raises ConfigurationError if the address cannot be used."""
        self._socket = claim(self.address)
        self.address = self.address.at_port(self._socket.getsockname()[1])

    def listen(self, source: Source) -> None:
        """Answer requests."""
        assert self._socket is not None
        self._port = self._reactor.adoptStreamPort(
            self._socket.fileno(), self.address.family, make_site(source, HostNames(self._hosts))
        )
        self.close()  # the port has duplicated the descriptor

    def close(self) -> None:
        """Close the socket of a port that does not listen."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def stop(self) -> "Deferred[object]":
        """Stop listening."""
        port, self._port = self._port, None
        return succeed(None) if port is None else maybeDeferred(port.stopListening)
