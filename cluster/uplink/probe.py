"""Asks the engine before a cluster starts: whether it can be used, and whether names are free.

What is wrong with the configuration is reported before any process starts. An engine that cannot be
reached is no error: the cluster starts without it.
"""

import asyncio
import time
from collections.abc import Callable

from cluster.core.exceptions import ConfigurationError
from cluster.core.machines.engine import (
    LEASE_MS,
    AnotherSite,
    EngineError,
    EngineUnavailable,
    NameTaken,
)
from cluster.uplink.connection import RedisConnection, find_server, open_connection
from cluster.uplink.scripts import script, site_prefix
from cluster.uplink.server import Server, examine, parse_info
from cluster.uplink.url import BusUrl

PROBE_S = 5.0
"""Seconds that the engine has to answer."""

NAME_S = LEASE_MS / 1000 + 2.0
"""Seconds to wait for a name: the lease of a broker that was killed, and a little more."""

RETRY_S = 0.5


def probe(
    url: BusUrl,
    site: str,
    machine: str,
    owner: str,
    fingerprint: str,
    waiting: Callable[[], object] = lambda: None,
) -> str:
    """Check whether this machine could join the others now.

    A broker that was killed keeps its name until its lease ends, so the name has NAME_S.

    Args:
        url: Where the engine is.
        site: The name of the site.
        machine: The name of the machine.
        owner: Tells this cluster from another one with the same machine name.
        fingerprint: Tells this site from another one of the same name.
        waiting: Called once if the name is in use.

    Returns:
        Why the engine cannot be reached; empty if it can.

    Raises:
        ConfigurationError: The engine cannot be used, or a name is in use.
    """
    deadline = 0.0
    while True:
        try:
            asyncio.run(_ask(url, site_prefix(site), machine, owner, fingerprint))
            return ""
        except NameTaken as error:
            if not deadline:
                deadline = time.monotonic() + NAME_S
                waiting()
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the name of this machine, {machine!r}, is in use: another cluster of the"
                    f" site {site!r} has it ({error}); choose another one with --machine"
                ) from None
        except AnotherSite:
            raise ConfigurationError(
                f"another site uses the name {site!r} in {url}: choose another C10K['SITE'], or"
                " have the same SECRET_KEY on all machines of this site"
            ) from None
        except EngineUnavailable as error:
            return str(error)
        except EngineError as error:
            raise ConfigurationError(f"{url} cannot be used: {error}") from None
        time.sleep(RETRY_S)


async def ask_server(url: BusUrl) -> Server:
    """Connect, and return what the server says of itself. Raises EngineError."""
    connection = await _connect(url, "")
    try:
        return examine(parse_info(await connection.call("INFO")))
    finally:
        await connection.close()


async def _ask(url: BusUrl, prefix: str, machine: str, owner: str, fingerprint: str) -> None:
    try:
        async with asyncio.timeout(PROBE_S):
            connection = await _connect(url, prefix)
            try:
                run = examine(parse_info(await connection.call("INFO"))).run
                await connection.run(script("probe"), run, machine, owner, fingerprint, LEASE_MS)
            finally:
                await connection.close()
    except TimeoutError:
        raise EngineUnavailable(f"no answer for {PROBE_S:g} s") from None


async def _connect(url: BusUrl, prefix: str) -> RedisConnection:
    return await open_connection(url, await find_server(url), prefix, "c10k:probe")
