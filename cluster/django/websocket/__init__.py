"""WebSocket handlers.

decorator      @websocket makes a Django view from a coroutine that serves a WebSocket
websocket      WebSocket: what such a coroutine gets, one for each connection
subscribing    its part for topics; subscription: what ws.subscribe returns
presence       its part for presence
barriers       its part for barriers
lifetime       what these parts share: the end of the connection
late_calls     what a handler gets that goes on when its client is gone
"""
