"""The Game of Life with one client for each cell.

rules            pure: the rules, the neighbours of a cell, the oracle
cell             pure: one cell and its messages
patterns         pure: built-in patterns, pattern files, their position on the grid
verification     pure: compares the cells' states with the oracle
cell_clients     the cells on their connections
game             one game: prepares the server, verifies the game, makes its summary
progress         the progress of a game on stderr
command          the options of `swarm life` and of `manage.py gameoflife`
"""
