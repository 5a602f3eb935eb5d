"""Conway's Game of Life with one WebSocket client for each cell; only the clients know the rules.

views.py         the page that shows the board
handlers.py      the WebSockets: reset, worker, watcher
game.py          the state of the game, which all nodes share
counts.py        how many workers are connected to each node, and how many are missing
cells.py         checks and relays the frames of a cell
recent.py        the newest frames of cells on other nodes, for workers that resume
reports.py       this node's part in the board for watchers
board.py         the board, assembled from the cells' reports
rebuild.py       a board whose reports are incomplete, from the states of all cells
summary.py       how reports travel between nodes
urls.py          the paths
templates/ static/   the page
"""
