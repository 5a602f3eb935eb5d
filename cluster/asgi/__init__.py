"""Floor 2: ASGI applications and async views, run by the event loop of a node.

scope             the scopes of requests and handshakes
site_application  the application of a whole site
urlconf           asgi(), which mounts an application in a URLconf
websocket_cycle   one WebSocket client of an application

The specification is https://asgi.readthedocs.io/en/latest/specs/. The name in ``__all__`` is
public.
"""

from cluster.asgi.urlconf import asgi

__all__ = ["asgi"]
