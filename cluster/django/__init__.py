"""Floor 2: what Django developers touch.

handlers    @websocket makes a view of a coroutine that serves a WebSocket
connection  WebSocket: what such a handler gets
serving     lets clients in, and runs a handler for each
topics      publish, listen and barrier, from anywhere in a node
resolving   the URLconf: path -> handler
origins     which pages may connect
conf        the C10K setting

Django code reaches the node it runs in through ``topics.node``, which the node sets when it starts.
"""
