from django.urls import path

from cluster import audience_socket
from django_project.audiences import views

app_name = "audiences"

urlpatterns = [
    path("audiences/", views.page, name="page"),
    path("ws/<path:facility>", audience_socket, name="socket"),
]
