"""`make drill`: kills processes of a cluster at random while clients check what they receive.

command      the options, the course, and the summary of a drill
cluster      a cluster of its own, whose processes can be killed, and a check that runs on it
faults       when which process is killed
game         the Game of Life: every generation equals the oracle, and the game never stalls
feed         a feed with history: every message is received once, or its loss is announced
chat         chat rooms: every confirmed message is received once
soak         `make soak`: mixed load for a long time, with a rolling restart in the middle
load         the clients of a soak test that no other module has
memory       pure: whether the memory of the processes grows
ledger       pure: what a client has received, compared with what was sent
websocket    opens WebSockets for asyncio
socket       pure: what the clients use of a WebSocket; autobahn_socket implements it

Run it with `python -m workers.drill`.
"""
