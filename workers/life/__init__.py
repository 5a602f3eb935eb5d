"""The Game of Life with one client for each cell.

rules            pure: the rules, the neighbours of a cell, the oracle
cell             pure: one cell and its messages
patterns         pure: built-in patterns, pattern files, where a pattern lies on the grid
verification     pure: compares what the cells became with the oracle
plan             what every shard of a game is sent, and what a shard reports
cell_client      a cell on its connection
shard            the cells of one process
shard_process    a shard in a child process
game             one game: resets the server, starts the shards, verifies, sums up
progress         what a person sees while it runs
command          the options of `swarm life` and of `manage.py gameoflife`
"""
