"""Floor 2: ASGI applications and async views, run by the event loop of a node.

scope             the scopes of requests and handshakes

The specification is https://asgi.readthedocs.io/en/latest/specs/.
"""
