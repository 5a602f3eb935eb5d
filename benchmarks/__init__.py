"""Benchmarks: programs that compare, on this machine, what the documentation says.

echo          what an echo costs the server
idle          memory of an idle connection
handshakes    handshakes a second of CPU
broadcast     one sends, a thousand get: loss, latency, CPU a delivery
storm         all clients lost and back at once
lane          what one message costs in a server of one process: the lane, and stock Autobahn
life          one game of Life against this cluster and against other servers
slow_views    what slow views do to WebSockets
link          what a publication costs on its way to another node
watchers      what those who look on at a game cost the servers

peers         the other servers
slow_site     the site of slow_views
servers       starts, finds, measures and stops server processes
environments  Pythons that have the peers' libraries
load          the clients
subscribers   the processes that hear a broadcast
command       options, one comparison from start to report, the end: what the commands share
rounds        who is measured when
figures       medians, ratios, tables
tables        puts what was found into the documentation
"""
