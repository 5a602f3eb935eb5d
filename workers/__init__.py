"""The swarm: many WebSocket clients driven by few processes.

The swarm imports nothing of the cluster, nor of Django, so that it can test any server.

connection/    one client's WebSocket: addresses, opening, reading, writing
reporting/     latencies, summaries, the status line, the server's memory
processes/     the clients of one process (a shard), and the processes of one run (the swarm)
cli/           what the subcommands share: options, limits, one run of the reactor, exit status
load/          `swarm echo`, `idle`, `broadcast` and `storm`
socketio/      `swarm socketio`: clients over WebSocket and long polling
life/          `swarm life`: the Game of Life with one client for each cell
__main__       the `swarm` program
demo/          `make demo`: starts one or several clusters, and a game on them
drill/         `make drill`: kills processes of a cluster, and checks what clients receive

A package imports only from the packages above it in this list.
"""
