"""WebSocket handlers.

handler_decorator     @websocket makes a Django view of a coroutine that serves a WebSocket
websocket             WebSocket: what such a coroutine receives, one for each connection

Its parts, which it makes when they are needed:

receive_queue         messages that the handler has not received yet
lifetime              how long the client stays; what ends when it leaves
late_calls            handlers that still use the WebSocket of a client that is gone
giving_way            how coroutines of a handler give way to others
drained               callbacks for the moment when a client reads again
topic_subscriptions   the topics whose messages go to the client
subscription          what ws.subscribe returns
memberships           the topics on which the client is present
barrier_parties       the barriers at which it has arrived
"""
