"""`swarm socketio`: clients of a Socket.IO server, over WebSocket and long polling.

command           the subcommand
clients           the clients of one process
client            one of them
transcript        pure: the packets that a client sends, and the check of those that it receives
engine_dialer     opens connections of Engine.IO by a transport
upgrading         a connection that begins with long polling and continues on a WebSocket
polling           a connection by long polling
http_responses    pure: splits what a server sends into HTTP responses
"""
