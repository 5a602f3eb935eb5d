"""How a handler's coroutines give way to others.

A loop of a handler that never waits would block the other clients of the node. So the methods that
such a loop may call wait for the next turn of the event loop when the budget of this one is spent.
"""

import asyncio
from contextlib import suppress
from functools import partial

from cluster.core.exceptions import Disconnected
from cluster.core.interfaces import ClientConnection
from cluster.django.api.topics import set_result
from cluster.django.handlers.lifetime import Lifetime
from cluster.net.websocket.autobahn_protocol import OPEN


async def give_way(connection: ClientConnection, lifetime: Lifetime) -> None:
    """Let the event loop serve others if the turn's budget is spent, or the connection closes.

    Raises Disconnected if the client is gone, or leaves meanwhile.
    """
    if lifetime.close_code is not None:
        await lifetime.refuse()
    budget = connection.budget
    if budget.is_spent() or connection.state != OPEN:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        budget.next_turn(partial(set_result, future))
        await lifetime.wait(future)


async def give_way_within_queue(connection: ClientConnection, lifetime: Lifetime) -> None:
    """The same, while there are messages of the client left, which come before Disconnected."""
    if not connection.budget.is_spent():
        return
    if lifetime.close_code is not None:
        await asyncio.sleep(0)
        return
    with suppress(Disconnected):
        await give_way(connection, lifetime)
