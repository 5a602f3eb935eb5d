"""The page of the lobby and of any room, and the server of their clients."""

from django.urls import path

from cluster.socketio import SocketIO
from django_project.socketio import namespaces, views

app_name = "socketio"

urlpatterns = [
    path("socket.io/", SocketIO({"/": namespaces.Chat})),
    path("socketio/", views.lobby, name="lobby"),
    path("socketio/<room:room>/", views.page, name="room"),
]
