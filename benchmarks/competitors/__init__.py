"""The competitors that the benchmarks measure, written as in their documentation.

autobahn_echo     echo in Autobahn on Twisted
autobahn_life     the relay of the Game of Life in Autobahn on Twisted
channels_site     echo and broadcast in Django Channels, for uvicorn and Daphne
daphne_channels   starts Daphne with several processes
picows_echo       echo in picows on uvloop
socketio_site     broadcast in python-socketio, for uvicorn
websockets_echo   echo in `websockets` on asyncio
websockets_life   the relay of the Game of Life in `websockets` on asyncio

Each prints `listening on ws://127.0.0.1:PORT/` when it accepts connections, and ends at SIGTERM.
The relays serve `/reset/` and `/worker/`, and send a message to many clients in the way that their
library provides.
"""
