"""External requests: a process that runs on no machine asks one of them to publish.

Its connection is a blocking one, for processes without an event loop. The request is put into the
inbox of a machine; the answer arrives in a list of its own. Both steps may be sent again after the
connection was lost: the first knows the ID of the request, and the second leaves the answer where
it is.
"""

import time
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from cluster.core.machines.engine import (
    EngineFull,
    EngineUnavailable,
    NoAnswer,
    NoMachine,
)
from cluster.core.machines.names import machine_of_member
from cluster.uplink.redis_errors import connect_error, ends_connection, engine_error
from cluster.uplink.scripts import INBOX_BYTES, script, site_prefix
from cluster.uplink.url import CONNECT_S, BusUrl

PAUSE_S = 0.1
"""Seconds between two attempts."""

SEND_S = 3.0
"""Seconds without progress after which a command that is being sent has failed."""

LATE_S = 0.5
"""Seconds by which Redis may be late with saying that there is no answer."""


class RequestConnection:
    """A connection for external requests; it connects when it is needed. One thread at a time.

    Args:
        url: Where Redis is.
        site: The name of the site.
    """

    def __init__(self, url: BusUrl, site: str) -> None:
        self._url = url
        self._prefix = site_prefix(site)
        self._connection: Any = None

    def ask(self, request_id: str, data: bytes, prefer: str, deadline: float) -> tuple[bytes, str]:
        """Send a request to one machine, and wait for its answer.

        Args:
            request_id: Unique for each request.
            data: The request.
            prefer: The name of the machine to choose if it is connected; empty: any.
            deadline: Until when to try, by ``time.monotonic``. At least one attempt is made.

        Returns:
            The answer, and the name of the machine.

        Raises:
            NoMachine: No machine of the site is connected.
            NoAnswer: The machine may have received the request.
            EngineError: The machine has not received it.
        """
        arguments = (request_id, data, prefer, INBOX_BYTES)
        may_be_sent = False
        member = b""
        while True:
            is_connected = False
            try:
                connection = self._connected(deadline)
                is_connected = True
                if not member:
                    member = self._place(connection, deadline, arguments)
                answer = self._answer(connection, deadline, request_id)
                return answer, machine_of_member(member.decode())
            except (EngineUnavailable, EngineFull, NoMachine) as error:
                if ends_connection(error):
                    may_be_sent |= is_connected
                if time.monotonic() + PAUSE_S >= deadline:
                    if may_be_sent:
                        raise NoAnswer(str(error)) from error
                    raise
            time.sleep(PAUSE_S)

    def check(self, deadline: float) -> None:
        """Raise NoMachine if no machine is connected, and EngineError if Redis cannot be used."""
        connection = self._connected(deadline)
        generation = self._call(connection, deadline, "HGET", f"{self._prefix}life", "generation")
        alive = f"{self._prefix}{(generation or b'').decode()}:alive"
        if not self._call(connection, deadline, "HLEN", alive):
            raise NoMachine("no machine of this site is connected")

    def close(self) -> None:
        """Disconnect. Idempotent; the next request connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _place(self, connection: Any, deadline: float, arguments: tuple[Any, ...]) -> bytes:
        outside = script("outside")
        command = ("EVALSHA", outside.sha, 1, self._prefix, *arguments)
        try:
            placed = self._call(connection, deadline, *command)
        except exceptions.NoScriptError:
            self._call(connection, deadline, "SCRIPT", "LOAD", outside.text)
            placed = self._call(connection, deadline, *command)
        return bytes(placed)

    def _answer(self, connection: Any, deadline: float, request_id: str) -> bytes:
        key = f"{self._prefix}reply:{request_id}"
        wait_s = max(0.01, deadline - time.monotonic())
        command = ("BLMOVE", key, key, "LEFT", "LEFT", f"{wait_s:.3f}")
        answer = self._call(connection, deadline + LATE_S, *command)
        if answer is None:
            raise NoAnswer("")
        return bytes(answer)

    def _call(self, connection: Any, deadline: float, *command: Any) -> Any:
        """Send a command; returns its answer. The connection is closed if there is none."""
        try:
            connection.send_command(*command, check_health=False)
            if not connection.can_read(max(0.01, deadline - time.monotonic())):
                raise EngineUnavailable("Redis does not answer")
            return connection.read_response()
        except exceptions.NoScriptError:
            raise
        except (exceptions.RedisError, OSError) as error:
            found = engine_error(error)
            if ends_connection(found):  # such as a replica, after a failover
                self.close()
            raise found from error
        except BaseException:  # a task queue may interrupt anywhere
            self.close()
            raise

    def _connected(self, deadline: float) -> Any:
        if self._connection is None:
            self._connection = self._connect(max(0.2, deadline - time.monotonic()))
        return self._connection

    def _connect(self, seconds: float) -> Any:
        url = self._url
        options: dict[str, Any] = {
            **url.server_options("c10k-publisher"),
            "socket_timeout": SEND_S,
            "socket_connect_timeout": min(CONNECT_S, seconds),
            "retry": Retry(NoBackoff(), 0),  # ``ask`` repeats what may be repeated
        }
        where = url.path
        try:
            if url.path:
                unix: Any = UnixDomainSocketConnection  # mypy takes it for an abstract class
                connection: Any = unix(path=url.path, **options)
            else:
                host, port = self._address()
                where = f"{host}:{port}"
                kind = Connection if url.tls is None else SSLConnection
                connection = kind(host=host, port=port, socket_keepalive=True, **options)
            connection.connect()
        except (exceptions.RedisError, OSError) as error:
            raise connect_error(error, where) from error
        return connection

    def _address(self) -> tuple[str, int]:
        """The address of the server, which is the primary that Sentinel names now."""
        url = self._url
        if not url.service:
            return url.hosts[0]
        options = {**url.sentinel_options(), "retry": Retry(NoBackoff(), 0)}
        sentinel: Any = Sentinel(url.shuffled_hosts(), sentinel_kwargs=options)
        try:
            host, port = sentinel.discover_master(url.service)
        except MasterNotFoundError:
            raise EngineUnavailable(f"no Sentinel knows a primary named {url.service}") from None
        except (exceptions.RedisError, OSError) as error:
            raise engine_error(error) from error
        return host, port
