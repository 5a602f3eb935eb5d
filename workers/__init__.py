"""The swarm: many WebSocket clients driven by few processes.

It talks WebSocket to a server and imports nothing of the cluster, nor of Django.

life           pure: the rules of the Game of Life, who is whose neighbour, the oracle, one cell
patterns       pure: built-in patterns, pattern files, where a pattern lies on the grid
verification   pure: compares what the cells became with the oracle, generation by generation
latency        pure: a histogram of durations
lane           one WebSocket connection, Autobahn's client with a fast path for small messages
read_hub       reads every open connection at one go, and sends once to each that has output
ramp           opens connections at a rate, from as many loopback addresses as they need
share          one process's cells and their connections
processes      shares in processes of their own
life_game      one game: resets the server, starts the shares, listens to them, sums up
progress       what a person sees while it runs
life_command   the options of `swarm life` and of `manage.py gameoflife`
__main__       the `swarm` program
"""
