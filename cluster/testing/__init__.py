"""Testing handlers: a client in memory, and real nodes where a test needs them.

connect               ``async with connect("/ws/") as client``: a WebSocket client without sockets
Client                what that gives: send, receive, receive_json, closed …
Refused               raised where the handshake is; status, headers, body
Closed                how a connection ended: code, reason
capture_publications  what is published in a block, as a list
LiveClusterTestCase   a Django test case with real nodes
LiveClient            its client through a real socket
asynchronous          for ``async def`` tests under trial

Inside: site (the node in memory), transport and loop (its wire and clock); conversation and wire
(the client's half of the protocol), visitors (its cookies); publications (also commits within
tests); live_settings and live_wsgi (what real nodes run).
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
