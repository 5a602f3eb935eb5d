"""Views and handlers that answer in the language of the request."""

from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest
from django.urls import path
from django.utils.translation import gettext

from cluster import WebSocket, feed, websocket


@websocket
async def yes(ws: WebSocket) -> None:
    """Return a text that Django has translated."""
    await ws.send(f"{ws.request.LANGUAGE_CODE} {gettext('Yes')}")


@feed
def topics(request: HttpRequest) -> list[str]:
    return [gettext("Yes")]


urlpatterns = [
    path("yes/", yes),
    path("feed/", topics),
    *i18n_patterns(path("yes/", yes), path("feed/", topics)),
]
