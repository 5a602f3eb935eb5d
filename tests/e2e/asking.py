"""Asking a cluster, by HTTP, until it says what a test waits for.

A state that another process reaches is waited for, never asked for once: an answer to one
connection says nothing of what another process has noticed.

    await ready(cluster.admin_url)
    await total_until(cluster, 2, "c10k_connections")
    await until(lambda: len(heard) == 3)
"""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.web.client import Agent, readBody

from tests.e2e.processes import PATIENCE_S, Cluster, reactor

LOOK_AGAIN_S = 0.05
LOOK_SOON_S = 0.01
"""At what this process knows itself."""


async def get(url: str, timeout: float = PATIENCE_S) -> tuple[int, str]:
    """Status and body."""
    agent = Agent(reactor, connectTimeout=timeout)
    response: Any = await agent.request(b"GET", url.encode()).addTimeout(timeout, reactor)
    body: Any = await readBody(response).addTimeout(timeout, reactor)
    return response.code, body.decode()


async def get_until(url: str, status: int, timeout: float = PATIENCE_S) -> str:
    """Ask again and again until the status is the one wanted; its body."""
    deadline = reactor.seconds() + timeout
    while True:
        code, body = await get(url)
        if code == status:
            return body
        if reactor.seconds() > deadline:
            raise AssertionError(f"{url} still answers {code} after {timeout} s: {body}")
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)


async def ready(admin_url: str) -> None:
    """Wait until a cluster says that all of it serves.

    Who has just logged that it is ready may say otherwise: a process that is too busy to answer
    within a second is as good as none for a probe.
    """
    body = await get_until(admin_url + "readyz", 200)
    assert body == "ready\n", body


async def until(condition: Callable[[], object], context: Callable[[], str] = lambda: "") -> None:
    """Look again and again until it is so; AssertionError with the context if it never is."""
    deadline = reactor.seconds() + PATIENCE_S
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError(f"still not so after {PATIENCE_S} s\n{context()}")
        await deferLater(reactor, LOOK_SOON_S, lambda: None)


async def metrics(admin_url: str) -> str:
    """The page of metrics, with those of every process.

    One that is too busy to answer within a second is left out of a page: then look again.
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
    """A metric of each node that has it with these labels, summed over the other labels."""
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
    """The same as soon as the condition holds of them."""
    deadline = reactor.seconds() + PATIENCE_S
    while not condition(found := await statistics(cluster, name, **labels)):
        if reactor.seconds() > deadline:
            raise AssertionError(f"{name}{labels} still is {found} after {PATIENCE_S} s")
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
    return found


async def total_until(cluster: Cluster, total: float, name: str, **labels: str) -> None:
    """Wait until a metric's sum over all nodes is this."""
    await statistics_until(cluster, lambda found: sum(found.values()) == total, name, **labels)
