"""Floor 2: ASGI applications and async views, run by the event loop of a node.

lifespan          the start-up and shutdown of applications
scope             the scopes of requests and handshakes
site_application  the application of a whole site
urlconf           asgi(), which mounts an application in a URLconf
async_views       which requests the event loop answers, and how many at once
view_handler      Django's ASGI handler, for async views
loop_middleware   Django's middleware for them, in the event loop where it does not block
async_streams     refuses asynchronous streams in synchronous views
async_threads     the threads in which async views call synchronous code
http_cycle        one HTTP request of an application
websocket_cycle   one WebSocket client of an application

The specification is https://asgi.readthedocs.io/en/latest/specs/. The name in ``__all__`` is
public.
"""

from cluster.asgi.urlconf import asgi

__all__ = ["asgi"]
