"""The feed twice: /live/ws/ as plain messages, /live/events/ for whoever reads feeds."""

from django.http import HttpRequest

from cluster import WebSocket, feed, websocket

TOPIC = "live"


@websocket
async def raw(ws: WebSocket) -> None:
    """Every message from now on. What the client sends is ignored."""
    ws.subscribe(TOPIC, replay=False)
    async for _ in ws:
        pass


@feed
def events(request: HttpRequest) -> list[str]:
    """By WebSocket, as server-sent events or by polling; who comes back hears what they missed."""
    return [TOPIC]
