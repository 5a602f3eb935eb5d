"""Conway's Game of Life with one WebSocket client per cell; only the clients know its rules.

views.py         the page that shows the board
handlers.py      the WebSockets: reset, worker, watcher
game.py          the game as all nodes agree on it
board.py         the board, put together from the cells' reports, for watchers
urls.py          the paths
templates/ static/   the page
"""
