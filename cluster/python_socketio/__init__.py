"""python-socketio on the cluster: rooms and emits across nodes, machines and processes.

cluster_manager   ClusterManager, the client manager of an AsyncServer
cluster_emitter   ClusterEmitter, for views and other processes, which only emit
bus_messages      what client managers send each other, and its bounds

::

    sio = socketio.AsyncServer(
        async_mode="asgi", client_manager=ClusterManager(), transports=["websocket"]
    )
    urlpatterns = [path("socket.io/", asgi(socketio.ASGIApp(sio)))]

This package needs python-socketio: ``pip install 'django-c10k[socketio]'``.
"""

from cluster.python_socketio.cluster_emitter import ClusterEmitter
from cluster.python_socketio.cluster_manager import ClusterManager

__all__ = ["ClusterEmitter", "ClusterManager"]
