"""The topic at two URLs: /live/ws/ sends plain messages, /live/events/ is a feed."""

from django.http import HttpRequest

from cluster import WebSocket, feed, websocket

TOPIC = "live"


@websocket
async def raw(ws: WebSocket) -> None:
    """Send every message from now on. Messages from the client are ignored."""
    ws.subscribe(TOPIC, replay=False)
    async for _ in ws:
        pass


@feed
def events(request: HttpRequest) -> list[str]:
    """The topic as a feed; a client that reconnects receives the messages that it missed."""
    return [TOPIC]
