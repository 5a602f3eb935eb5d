"""Tools for testing handlers: a client in memory, and real nodes for tests that need them.

connect               ``async with connect("/ws/") as client``: a WebSocket client without sockets
Client                the client: send, receive, receive_json, closed …
Refused               raised if the server refuses the handshake: status, headers, body
Closed                the close code and the reason of a connection
capture_publications  a list of the messages that are published in a block
LiveClusterTestCase   a Django test case with real nodes
LiveClient            its client, through a real socket
connect_socketio      ``async with connect_socketio("/socket.io/")``: a Socket.IO client in memory
SocketIOClient        that client: emit, call, receive, answer …
LiveSocketIOClient    one through a real socket
asynchronous          a decorator for ``async def`` tests under trial

The modules: memory_client, conversation, client_protocol and cookies are the client in memory;
socketio_client and socketio_conversation are that of Socket.IO; memory_node, memory_transport and
loop_reactor are their server; publications records publications, and commits within tests; live/
runs real nodes.
"""

from cluster.testing.asynchronous import asynchronous
from cluster.testing.conversation import Closed, Refused
from cluster.testing.live.client import LiveClient
from cluster.testing.live.socketio_client import LiveSocketIOClient
from cluster.testing.live.test_case import LiveClusterTestCase
from cluster.testing.memory_client import Client, connect
from cluster.testing.publications import Publication, capture_publications
from cluster.testing.socketio_client import SocketIOClient, connect_socketio

__all__ = [
    "Client",
    "Closed",
    "LiveClient",
    "LiveClusterTestCase",
    "LiveSocketIOClient",
    "Publication",
    "Refused",
    "SocketIOClient",
    "asynchronous",
    "capture_publications",
    "connect",
    "connect_socketio",
]
