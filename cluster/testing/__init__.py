"""Testing handlers: a client in memory, and real nodes for tests that need them.

connect               ``async with connect("/ws/") as client``: a WebSocket client without sockets
Client                the client: send, receive, receive_json, closed …
Refused               raised if the server refuses the handshake: status, headers, body
Closed                how a connection ended: code, reason
capture_publications  a list of all that is published in a block
LiveClusterTestCase   a Django test case with real nodes
LiveClient            its client, through a real socket
asynchronous          a decorator for ``async def`` tests under trial

The modules: client, conversation, client_protocol and cookies are the client in memory;
memory_node, memory_transport and loop_reactor are its server; publications records publications,
and commits within tests; live, live_client, live_settings and live_wsgi run real nodes.
"""

from cluster.testing.asynchronous import asynchronous
from cluster.testing.client import Client, connect
from cluster.testing.conversation import Closed, Refused
from cluster.testing.live import LiveClusterTestCase
from cluster.testing.live_client import LiveClient
from cluster.testing.publications import Publication, capture_publications

__all__ = [
    "Client",
    "Closed",
    "LiveClient",
    "LiveClusterTestCase",
    "Publication",
    "Refused",
    "asynchronous",
    "capture_publications",
    "connect",
]
