from django.urls import path

from django_project.echo import handlers, socketio, views

app_name = "echo"

urlpatterns = [
    path("test/", views.page, name="page"),
    path("test/ws/", handlers.conversation, name="conversation"),
    path("test/socket.io/", socketio.server),
    path("test/wsgi/", views.wsgi, name="wsgi"),
    path("echo/", handlers.echo, name="echo"),
    path("echo/async/", handlers.echo_async, name="echo-async"),
    path("broadcast/<slug:name>/", handlers.broadcast, name="broadcast"),
    path("meeting/<slug:name>/<int:parties>/", handlers.meeting, name="meeting"),
]
