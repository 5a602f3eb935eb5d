"""One connection to Redis, with redis-py, and its errors as those of an engine.

A connection has one command in flight, and a limit of time for each. When the time is over, or
when the caller is cancelled, the connection is closed: an answer that arrives later would be taken
for that to the next command.
"""

import asyncio
import os
import random
import socket
import ssl
from collections.abc import Callable
from typing import Any

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from cluster.core.machines.engine import (
    AnotherSite,
    EngineError,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    EngineUnusable,
    GenerationChanged,
    Gone,
    NameTaken,
    NoMachine,
)
from cluster.uplink.scripts import Script
from cluster.uplink.url import BusUrl

_pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack
except ImportError:
    _pack = None

CONNECT_S = 3.0
"""Seconds for a connection with its handshake: a lease must not end because one server of several
does not answer."""

ANSWER_S = 3.0
"""Seconds without the answer to a command after which the connection is regarded as lost. Shorter
than the lease (5 s), so that there is time to connect again before it ends."""

BYTES_PER_S = 1 << 20
"""The slowest network that is supported: a command has a second more for each MiB that it sends."""

SENTINEL_S = 1.0
"""Seconds for one Sentinel, before the next one is asked."""

_KEEPALIVE = {
    name: value
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
    if (name := getattr(socket, option, None)) is not None
}
"""The kernel closes a connection whose other side is gone after 11 s: the answers' limit of time is
shorter, but a connection that only waits has no answer due."""

_SCRIPT_ERRORS: dict[str, type[EngineError]] = {
    "GENERATION": GenerationChanged,
    "GONE": Gone,
    "NUMBER": Gone,
    "NAMETAKEN": NameTaken,
    "FINGERPRINT": AnotherSite,
    "FULL": EngineFull,
    "NOBODY": NoMachine,
}
"""How the errors of our scripts begin."""

_REFUSALS = {
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "MISCONF": "Redis takes no writes, because it could not save its data to its disk",
    "BUSY": "Redis is busy with a script of another client",
}


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
        connection = self._connection
        if not connection.is_connected:
            raise EngineUnavailable("the connection was lost")
        try:
            # redis-py's own limit would begin a task for each command.
            async with asyncio.timeout(seconds):
                # redis-py's own packer takes several times as long.
                packed = _pack(command) if _pack else connection.pack_command(*command)
                await connection.send_packed_command(packed, check_health=False)
                return await connection.read_response()
        except TimeoutError:
            raise EngineUnavailable(f"no answer for {seconds:g} s") from None
        except exceptions.NoScriptError:
            raise
        except (exceptions.RedisError, OSError) as error:
            found = engine_error(error)
            if isinstance(found, EngineUnavailable | EngineUnusable) and not isinstance(
                found, EngineRefused
            ):
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
    options: dict[str, Any] = {
        **url.sentinel_credentials(),
        "ssl": url.tls is not None,
        "socket_timeout": SENTINEL_S,
        "socket_connect_timeout": SENTINEL_S,
        "retry": Retry(NoBackoff(), 0),
    }
    # Another one is first each time, so that one that does not answer does not delay each attempt.
    sentinel = Sentinel(random.sample(url.hosts, len(url.hosts)), sentinel_kwargs=options)
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
        **url.credentials(),
        "client_name": name,
        "protocol": 2,
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
        found, reason = engine_error(error), _reason(error.__context__)
        if type(found) is EngineUnavailable and reason:
            raise EngineUnavailable(f"cannot connect to {where}: {reason}") from error
        raise found from error
    except BaseException:
        await _discard(connection)
        raise
    return RedisConnection(connection, prefix)


def _reason(cause: BaseException | None) -> str:
    """Why a connection failed, in the system's words: redis-py's text repeats the address."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {cause.reason}"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return ""


async def _discard(connection: Any) -> None:
    if connection is not None:
        await connection.disconnect(nowait=True)


def engine_error(error: Exception) -> EngineError:
    """Return an error of redis-py as one of an engine, with a reason in a single line."""
    if isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # redis-py wraps what a server answers during the handshake
    text = " ".join(str(error).split())
    code = text.partition(" ")[0]
    if isinstance(error, exceptions.AuthenticationError):
        return EngineUnusable(f"Redis refuses the user or the password: {text}")
    if isinstance(error, exceptions.NoPermissionError):
        return EngineUnusable(f"Redis does not permit what the uplink needs: {text}")
    if isinstance(error, exceptions.OutOfMemoryError):
        return EngineRefused("Redis has no memory left (OOM); raise its maxmemory")
    if isinstance(error, exceptions.ReadOnlyError):
        return EngineUnavailable("this Redis has become a replica")
    if isinstance(error, exceptions.BusyLoadingError):
        return EngineUnavailable("Redis is loading its data")
    if code in _SCRIPT_ERRORS:
        return _SCRIPT_ERRORS[code](text.partition(" ")[2])
    if code == "UNBLOCKED":
        return EngineUnavailable("this Redis has become a replica")
    if code in _REFUSALS:
        return EngineRefused(_REFUSALS[code])
    if isinstance(error, exceptions.ResponseError):
        return EngineUnavailable(f"unexpected answer of Redis: {text}")
    return EngineUnavailable(text or type(error).__name__)
