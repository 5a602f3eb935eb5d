"""The URLconf that middleware chooses in test_middleware."""

from typing import Any

from django.urls import get_urlconf, path

from cluster import websocket


@websocket
async def elsewhere(ws: Any) -> None:
    """Sends the URLconf that is active in a handler."""
    await ws.send(str(get_urlconf()))


urlpatterns = [path("elsewhere", elsewhere)]
