"""Checks what a Redis or Valkey says of itself: the answer to ``INFO``."""

from collections.abc import Mapping
from typing import NamedTuple

from cluster.core.machines.engine import EngineUnavailable, EngineUnusable

MINIMUM_VERSION = (7, 0)
"""The first with ``#!lua flags=``: without ``allow-oom`` a Redis that is full stays full."""


class Server(NamedTuple):
    """A server that can be used.

    ``run`` differs after each restart and after each failover, also one back to a server that had
    been the primary before: its replication history is another one. ``warnings`` are one line each.
    """

    version: str
    run: str
    warnings: tuple[str, ...]


def parse_info(text: bytes) -> dict[str, str]:
    """Return the fields of ``INFO``."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def examine(info: Mapping[str, str]) -> Server:
    """Check a server.

    Args:
        info: The fields of its ``INFO``.

    Raises:
        EngineUnusable: It is too old, or of a wrong kind.
        EngineUnavailable: It is loading its data, or is a replica.
    """
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if info.get("redis_mode") == "sentinel":
        raise EngineUnusable("this is a Sentinel; use redis+sentinel://HOST,HOST/NAME")
    if len(numbers) < 2 or numbers < MINIMUM_VERSION:
        name = f"Redis {version}" if version else "a server without a version"
        raise EngineUnusable(f"{name} is too old; use Redis 7.0 or newer, or Valkey")
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == "1":
        raise EngineUnusable(
            "Redis is in cluster mode, and a site cannot be divided; use a single Redis, or"
            " several with Sentinel"
        )
    if info.get("loading", "0") != "0":
        raise EngineUnavailable("Redis is loading its data")
    if info.get("role", "master") != "master":
        raise EngineUnavailable("this Redis is a replica")
    if "run_id" not in info:
        raise EngineUnusable("Redis does not show its run_id in INFO")
    run = f"{info['run_id']}/{info.get('master_replid', '')}"
    return Server(info.get("valkey_version", version), run, tuple(_warnings(info)))


def _warnings(info: Mapping[str, str]) -> list[str]:
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"maxmemory-policy is {policy}: when memory is short, Redis deletes the data of all"
            " machines, and all of them join again; set noeviction"
        )
    if info.get("connected_slaves", "0") != "0" and "min_slaves_good_slaves" not in info:
        found.append(
            "Redis has replicas without min-replicas-to-write: a primary that is cut off takes"
            " writes that a failover loses; set min-replicas-to-write 1, min-replicas-max-lag 3"
        )
    return found
