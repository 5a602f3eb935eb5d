"""`make demo`: starts one or several clusters, and plays the Game of Life on them.

`twistd c10k` and `swarm life` run as separate programs, in separate process groups, so that Ctrl-C
signals only this program. It ends the swarm before the clusters; otherwise the swarm would report
lost connections.

command    the options, the game from start to end, signals, exit status
machines   the clusters, each in the role of a machine, and the Redis that they share
programs   runs a program for a block of code, reads its output, ends it
"""
