"""Conway's Game of Life with one WebSocket client for each cell; only the clients know the rules.

views.py         the page that shows the board
handlers.py      the WebSockets: reset, worker, watcher
game.py          the state of the game, which all nodes share
board.py         the board for watchers, assembled from the cells' reports
urls.py          the paths
templates/ static/   the page
"""
