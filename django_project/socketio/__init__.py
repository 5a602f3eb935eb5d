"""The chat for Socket.IO clients: the rooms of django_project.chat, with the same messages.

namespaces.py  the namespace of the clients
views.py       the page of a room, which shows how to install the client if it is missing
package.json   the client for browsers: ``npm ci --prefix django_project/socketio``
"""
