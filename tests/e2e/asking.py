"""Polls a cluster by HTTP until it is in an expected state.

Tests must wait for states of other processes, never check them once: an answer of one process does
not show what another process has noticed.

    await ready(cluster.admin_url)
    await total_until(cluster, 2, "c10k_connections")
    await until(lambda: len(received) == 3)
"""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.web.client import Agent, readBody

from tests.e2e.processes import PATIENCE_S, Cluster, reactor

LOOK_AGAIN_S = 0.05
LOOK_SOON_S = 0.01
"""Seconds between two checks of a condition within this process."""


async def get(url: str, timeout: float = PATIENCE_S) -> tuple[int, str]:
    """Return status and body."""
    agent = Agent(reactor, connectTimeout=timeout)
    response: Any = await agent.request(b"GET", url.encode()).addTimeout(timeout, reactor)
    body: Any = await readBody(response).addTimeout(timeout, reactor)
    return response.code, body.decode()


async def get_until(url: str, status: int, timeout: float = PATIENCE_S, *, begins: str = "") -> str:
    """Repeat the request until it is answered with a status and a body that begins so.

    Returns the body.
    """
    deadline = reactor.seconds() + timeout
    while True:
        code, body = await get(url)
        if code == status and body.startswith(begins):
            return body
        if reactor.seconds() > deadline:
            raise AssertionError(f"{url} still answers {code} after {timeout} s: {body}")
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)


async def ready(admin_url: str) -> None:
    """Wait until /readyz of a cluster is 200.

    It may be 503 after the cluster has logged that it is ready: to a probe, a process that is too
    busy to answer within a second does not serve.
    """
    body = await get_until(admin_url + "readyz", 200)
    assert body == "ready\n", body


async def until(condition: Callable[[], object], context: Callable[[], str] = lambda: "") -> None:
    """Repeat a check until it is true; raises AssertionError with the context after PATIENCE_S."""
    deadline = reactor.seconds() + PATIENCE_S
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError(f"still not so after {PATIENCE_S} s\n{context()}")
        await deferLater(reactor, LOOK_SOON_S, lambda: None)


async def metrics(admin_url: str) -> str:
    """Return the metrics page, with the metrics of every process.

    The page leaves out a process that is too busy to answer within a second; then it is requested
    again.
    """
    deadline = reactor.seconds() + PATIENCE_S
    while True:
        _, page = await get(admin_url + "metrics")
        if not re.search(r"^c10k_up{.*} 0\.0$", page, re.MULTILINE):
            return page
        if reactor.seconds() > deadline:
            raise AssertionError(f"not all processes answer after {PATIENCE_S} s:\n{page}")
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)


async def statistics(cluster: Cluster, name: str, **labels: str) -> dict[str, float]:
    """Return a metric by node, with these labels, summed over the other labels."""
    page = await metrics(cluster.admin_url)
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    found: dict[str, float] = {}
    for given, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", page, re.MULTILINE):
        if wanted <= set(given.split(",")):
            node = re.search(r'node="(\w+)"', given)
            assert node is not None
            found[node[1]] = found.get(node[1], 0) + float(value)
    return found


async def statistics_until(
    cluster: Cluster, condition: Callable[[dict[str, float]], object], name: str, **labels: str
) -> dict[str, float]:
    """Wait until the condition is true for ``statistics``; returns them."""
    deadline = reactor.seconds() + PATIENCE_S
    while not condition(found := await statistics(cluster, name, **labels)):
        if reactor.seconds() > deadline:
            raise AssertionError(f"{name}{labels} still is {found} after {PATIENCE_S} s")
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
    return found


async def total_until(cluster: Cluster, total: float, name: str, **labels: str) -> None:
    """Wait until a metric's sum over all nodes is this."""
    await statistics_until(cluster, lambda found: sum(found.values()) == total, name, **labels)
