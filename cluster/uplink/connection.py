"""One connection to Redis, with redis-py, on asyncio's event loop.

A connection has one command in flight, and a limit of time for each. When the time is over, or
when the caller is cancelled, the connection is closed: an answer that arrives later would be taken
for that to the next command.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from cluster.core.machines.engine import EngineError, EngineRefused, EngineUnavailable
from cluster.uplink.redis_errors import connect_error, ends_connection, engine_error
from cluster.uplink.scripts import Script
from cluster.uplink.url import CONNECT_S, BusUrl

_pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack
except ImportError:
    _pack = None

ANSWER_S = 3.0
"""Seconds without the answer to a command after which the connection is regarded as lost. Shorter
than the lease (5 s), so that there is time to connect again before it ends."""

BYTES_PER_S = 1 << 20
"""The slowest network that is supported: a command has a second more for each MiB that it sends."""

_KEEPALIVE = {
    name: value
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
    if (name := getattr(socket, option, None)) is not None
}
"""The kernel closes a connection whose other side is gone after 11 s: the answers' limit of time is
shorter, but a connection that only waits has no answer due."""


class RedisConnection:
    """A connection that was opened by ``open_connection``. Close it at the end.

    All methods raise EngineError.
    """

    def __init__(self, connection: Any, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    async def call(self, *command: Any, seconds: float = ANSWER_S) -> Any:
        """Send a command; returns its answer.

        Args:
            command: Its words, as bytes, texts and integers.
            seconds: How long to wait for the answer.
        """
        return await self._exchange(self._packed(command), seconds)

    async def call_after(
        self,
        script: Script,
        arguments: Sequence[Any],
        answered: Callable[[Any], None],
        refused: Callable[[EngineRefused], None],
        *command: Any,
        seconds: float,
    ) -> Any:
        """Run a script and then a command, both sent at once: the command need not wait a round
        trip for the answer of the script. Returns the answer of the command.

        Args:
            script: The script. If Redis has forgotten it, it is loaded for the next time.
            arguments: Its arguments.
            answered: Called with the answer of the script, before that of the command.
            refused: Called in place of it if the engine takes no writes.
            command: As for ``call``.
            seconds: How long to wait for the answer of the command.
        """
        first = self._packed(("EVALSHA", script.sha, 1, self._prefix, *arguments))
        is_missing = False
        try:
            answered(await self._exchange(first + self._packed(command), ANSWER_S))
        except exceptions.NoScriptError:
            is_missing = True
        except EngineRefused as error:
            refused(error)
        except EngineError:
            await self.close()  # the answer of the command would be taken for that of the next one
            raise
        answer = await self._exchange(b"", seconds)
        if is_missing:
            await self.call("SCRIPT", "LOAD", script.text)
        return answer

    def _packed(self, command: tuple[Any, ...]) -> bytes:
        # redis-py's own packer takes several times as long.
        return _pack(command) if _pack else b"".join(self._connection.pack_command(*command))

    async def _exchange(self, packed: bytes, seconds: float) -> Any:
        """Send commands, if there are any, and return the next answer."""
        connection = self._connection
        if not connection.is_connected:
            raise EngineUnavailable("the connection was lost")
        try:
            # redis-py's own limit would begin a task for each command.
            async with asyncio.timeout(seconds):
                if packed:
                    await connection.send_packed_command(packed, check_health=False)
                return await connection.read_response()
        except TimeoutError:
            raise EngineUnavailable(f"no answer for {seconds:g} s") from None
        except exceptions.NoScriptError:
            raise
        except (exceptions.RedisError, OSError) as error:
            found = engine_error(error)
            if ends_connection(found):
                await self.close()
            raise found from error

    async def run(self, script: Script, *arguments: Any, seconds: float = ANSWER_S) -> Any:
        """Run a script; returns its answer. Loads the script if Redis has forgotten it."""
        command = ("EVALSHA", script.sha, 1, self._prefix, *arguments)
        try:
            return await self.call(*command, seconds=seconds)
        except exceptions.NoScriptError:
            await self.call("SCRIPT", "LOAD", script.text)
        try:
            return await self.call(*command, seconds=seconds)
        except exceptions.NoScriptError as error:
            raise EngineUnavailable("Redis does not keep scripts") from error

    async def close(self) -> None:
        """Disconnect at once. Idempotent."""
        await self._connection.disconnect(nowait=True)


Address = tuple[str, int]
"""Host and port."""


async def find_server(url: BusUrl) -> Address | None:
    """Return the address of the server, which is the primary that Sentinel names now.

    It is None for a Unix socket. Raises EngineError.
    """
    if not url.service:
        return url.hosts[0] if url.hosts else None
    options = {**url.sentinel_options(), "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(url.shuffled_hosts(), sentinel_kwargs=options)
    try:
        host, port = await sentinel.discover_master(url.service)
    except MasterNotFoundError:
        raise EngineUnavailable(f"no Sentinel knows a primary named {url.service}") from None
    except (exceptions.RedisError, OSError) as error:
        raise engine_error(error) from error
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return host, port


async def open_connection(
    url: BusUrl, address: Address | None, prefix: str, name: str
) -> RedisConnection:
    """Connect to Redis. Raises EngineError.

    Args:
        url: How to connect.
        address: What ``find_server`` has returned.
        prefix: The prefix of the site's keys, for scripts.
        name: What ``CLIENT LIST`` shows.
    """
    options: dict[str, Any] = {
        **url.server_options(name),
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_S,
    }
    where = url.path if address is None else f"{address[0]}:{address[1]}"
    connection: Any = None
    try:
        async with asyncio.timeout(CONNECT_S):
            if address is None:
                connection = UnixDomainSocketConnection(path=url.path, **options)
            else:
                kind = Connection if url.tls is None else SSLConnection
                options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
                connection = kind(host=address[0], port=address[1], **options)
            await connection.connect()
    except TimeoutError:
        await _discard(connection)
        raise EngineUnavailable(f"no answer of {where} for {CONNECT_S:g} s") from None
    except (exceptions.RedisError, OSError) as error:
        await _discard(connection)
        raise connect_error(error, where) from error
    except BaseException:
        await _discard(connection)
        raise
    return RedisConnection(connection, prefix)


async def _discard(connection: Any) -> None:
    if connection is not None:
        await connection.disconnect(nowait=True)
