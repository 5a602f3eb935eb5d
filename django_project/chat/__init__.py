"""Chat: rooms on every node, with a memory of fifteen messages.

names.py     who somebody is: their user name, or a guest's name that the session keeps
handlers.py  the socket of a room
views.py     the page of a room
"""
