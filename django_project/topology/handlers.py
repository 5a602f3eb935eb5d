"""The WebSocket of the map: which node has the client of which cell.

::

    < {"game": id, "node": "node2", "cells": base64}    bit i % 8 of byte i / 8: the node has cell i

Each node sends its message once a second while it has cells of a game.
"""

from cluster import WebSocket, websocket
from django_project.gameoflife.game import OWNERS


@websocket
async def owners(ws: WebSocket) -> None:
    """Send every node's messages. Messages from the client are ignored."""
    ws.subscribe(OWNERS)
    async for _ in ws:
        pass
