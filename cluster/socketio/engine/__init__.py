"""Engine.IO sessions over long polling and WebSocket, in the event loop.

server               the side of one URL: its view, its handler, its options
options              the options, and the parameters of requests
client               one session, as the application sees it
session_transports   performs the decisions of a session (core.socketio.engine_session)
heartbeat            pings
answers              the answers to requests over HTTP
polling              the GETs and POSTs of one session
requests             the requests that a node receives over HTTP
websocket_transport  WebSockets, from the beginning or as an upgrade
cors                 which pages may send requests
errors               refusals, and the reasons of ends
registry             the sessions of this process, their ids, timers and counts
out_packet           a message, encoded once, for all that receive it
fan_out              one message to many clients
"""
