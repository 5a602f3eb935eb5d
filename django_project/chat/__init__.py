"""Chat: rooms that span all nodes and keep their newest fifteen messages.

names.py     a person's name: the user name, or a guest's name that the session keeps
handlers.py  the WebSocket of a room
views.py     the page of a room
"""
