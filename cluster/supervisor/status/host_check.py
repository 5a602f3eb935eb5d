"""The names by which the admin port may be addressed.

A page of another site could read what the port answers through a name that it lets resolve to this
host's address (DNS rebinding). So the Host header must be an address, ``localhost``, this machine's
name, or a name in ``C10K["ADMIN_HOSTS"]``. A request without the header comes from no browser.
"""

import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from threading import Thread

from twisted.web.resource import Resource
from twisted.web.server import Request

REFUSAL = (
    b"use this machine's address or name as the host, or add the name to C10K['ADMIN_HOSTS']\n"
)


class HostNames:
    """The allowed names: those of this machine, and the configured ones.

    The machine's full name may come from a name server that does not answer, so a thread asks for
    it. Until then only the short name is known.

    Args:
        configured: Names as in Django's ALLOWED_HOSTS: ".example.com" allows subdomains too, "*"
            any name.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        names = {name.lower() for name in configured}
        self._any = "*" in names
        self._domains = tuple(name for name in names if name.startswith("."))
        self._names = {*names, socket.gethostname().lower()}
        self._asking = Thread(target=self._ask, name="full host name", daemon=True)
        self._asking.start()

    def _ask(self) -> None:
        self._names.add(socket.getfqdn().lower())

    def allows(self, host: str) -> bool:
        """Whether the value of a Host header is allowed."""
        if self._any:
            return True
        name = name_of(host)
        is_domain = any(name.endswith(each) or name == each[1:] for each in self._domains)
        return is_domain or is_own_host(name, self._names)


def name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]").lower().rstrip(".")


def is_own_host(name: str, names: Collection[str]) -> bool:
    """Whether a name is one of ``names``, an address, or in the reserved domain localhost."""
    if name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class Checked(Resource):
    """A resource for requests whose Host header is allowed; others are answered 403."""

    def __init__(self, hosts: HostNames) -> None:
        super().__init__()
        self._hosts = hosts

    def render(self, request: Request) -> bytes | int:
        host = request.getHeader(b"host")
        if host is None or self._hosts.allows(host.decode("latin-1")):
            answer: bytes | int = super().render(request)
            return answer
        request.setResponseCode(403)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"x-content-type-options", b"nosniff")
        return REFUSAL
