"""The swarm: many WebSocket clients driven by few processes.

It talks WebSocket to a server and imports nothing of the cluster, nor of Django.

The Game of Life:

life           pure: the rules of the Game of Life, who is whose neighbour, the oracle, one cell
patterns       pure: built-in patterns, pattern files, where a pattern lies on the grid
verification   pure: compares what the cells became with the oracle, generation by generation
plan           a whole game as each share of it is told, and what a share tells
player         a cell on its connection
share          one process's cells and their connections
processes      shares in processes of their own
life_game      one game: resets the server, starts the shares, listens to them, sums up
progress       what a person sees while it runs
life_command   the options of `swarm life` and of `manage.py gameoflife`
demo           `make demo`: a cluster, and a game on it

load/          clients that play no game: `swarm echo`, `idle`, `broadcast` and `storm`

What all of them stand on:

latency        pure: a histogram of durations
lane           one WebSocket connection, Autobahn's client with a fast path for small messages
read_hub       reads every open connection at one go, and sends once to each that has output
dialer         where the servers are, and how to open a connection to them
ramp           opens connections at a rate, from as many loopback addresses as they need
wheel          many timers for the price of one
timers         the few timers of a whole share, known by name
limits         what this machine allows, and whether that is enough
causes         why a client failed, in the user's words
pipes          a child process and its parent, one JSON text a line each way
arguments      types of command line arguments
command        what all subcommands share: options, one run of the reactor, Ctrl-C, exit status
this_process   what a process does with itself: reactor, log, garbage, CPU time
__main__       the `swarm` program
"""
