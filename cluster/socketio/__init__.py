"""Socket.IO servers of a site: their clients connect over WebSocket or long polling, to any node.

::

    class Chat(Namespace):
        async def on_connect(self, socket, auth):
            await socket.enter_room("lobby")

        async def on_message(self, socket, text):
            self.to("lobby").emit("message", text)

    urlpatterns = [path("socket.io/", SocketIO({"/": Chat}))]

server          SocketIO: the view
namespace       Namespace: the base class of a site's namespaces
handlers        the handlers of a namespace
operators       who receives an event, and how it is sent; RemoteSocket
sending         sends events and requests to these receivers
emitter         emit and Emitter: for views, tasks and other processes
receipts        what emit returns
limits          what a client may use
interfaces      what these modules need of each other
exceptions      what handlers raise, and calls
client/         the sockets of one Engine.IO session, and their handlers
sockets/        Socket: a client in a namespace; its rooms, and those of all sockets
bus/            how the nodes reach each other's sockets
recovery/       clients that come back receive what they have missed
engine/         Engine.IO: sessions over polling and WebSocket
"""

from cluster.socketio.emitter import Emitter, emit
from cluster.socketio.exceptions import AcknowledgementTimeout, ConnectionRefused
from cluster.socketio.handlers import event
from cluster.socketio.namespace import Namespace
from cluster.socketio.operators import BroadcastOperator, RemoteSocket
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.server import SocketIO
from cluster.socketio.sockets.socket import Socket

__all__ = [
    "AcknowledgementTimeout",
    "BroadcastOperator",
    "ConnectionRefused",
    "EmitReceipt",
    "Emitter",
    "Namespace",
    "RemoteSocket",
    "Socket",
    "SocketIO",
    "emit",
    "event",
]
