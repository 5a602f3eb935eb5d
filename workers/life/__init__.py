"""The Game of Life with one client for each cell.

rules            pure: the rules, the neighbours of a cell, the oracle
cell             pure: one cell and its messages
patterns         pure: built-in patterns, pattern files, their position on the grid
verification     pure: compares the cells' states with the oracle
cell_client      one cell with its connection
cell_clients     the game as each process receives it, and the cells of one process
asking           when cells ask for states that were lost
game             one game: prepares the server, verifies the game, makes its summary
stalls           how long a running game has not advanced
progress         the progress of a game on stderr
command          the options of `swarm life` and of `manage.py gameoflife`
"""
