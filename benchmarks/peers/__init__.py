"""Other servers doing the same relay as the cluster's Life application, in one process each.

autobahn_life     Autobahn on Twisted, as its documentation shows it
websockets_life   the `websockets` library on asyncio, as its documentation shows it

Both know `/reset/` and `/worker/`, print `listening on ws://127.0.0.1:PORT/` when they can be
reached, and end at SIGTERM. They are written to be fair: each uses its library's own way to send
one message to many.
"""
