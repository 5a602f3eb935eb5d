"""Conway's Game of Life with one WebSocket client a cell; all of the game's rules are theirs.

views.py         the page that shows the board
handlers.py      the sockets: reset, worker, watcher
board.py         what the sockets have told of the board so far, for those who watch it
urls.py          their paths
templates/ static/   the page
"""
