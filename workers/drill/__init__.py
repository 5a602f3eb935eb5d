"""`make drill`: kills processes of a cluster at random while clients check what they receive.

command      the options, the course, and the summary of a drill
cluster      a cluster of its own, whose processes can be killed; the course of every program here
faults       when which process is killed
game         the Game of Life: every generation equals the oracle, and the game never stalls
feed         a feed with history: every message is received once, or its loss is announced
chat         chat rooms: every confirmed message is received once
clients      the three of them, their options, and what is reported of them
socketio     a program of its own: Socket.IO clients that recover while nodes are killed
ledger       pure: what a client has received, compared with what was sent
websocket    opens WebSockets for asyncio
socket       pure: what the clients use of a WebSocket; autobahn_socket implements it
soak         `make soak`: mixed load for a long time, with a rolling restart in the middle
machines     `make drill-machines`: several machines on one Redis

Run it with `python -m workers.drill`, or `python -m workers.drill.socketio`.
"""
