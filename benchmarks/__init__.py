"""Benchmarks: programs that measure this server and others on your machine.

echo          CPU time of one echoed message
idle          memory of an idle connection
handshakes    handshakes per second of CPU time
broadcast     one publisher, a thousand subscribers: loss, latency, CPU time per delivery
channel_layer  CPU time of messages through the channel layer, and through channels_redis
consumers     consumers of Channels in the cluster, and handlers in their place
socketio      servers of Socket.IO: echo, broadcast, memory of an idle client
socketio_fuzz  hostile clients of Socket.IO: errors, memory, descriptors, the latency of others
storm         all clients disconnect and reconnect at once
floods        the latency of other clients, and memory, while clients flood a node
fast_path     CPU time of one message in a server of one process: the fast path, and plain Autobahn
life          one Game of Life on this cluster and on other servers
slow_views    the latency of WebSockets while slow views run
link          CPU time of a publication on its way to another node
engine        CPU time of a publication on its way to another machine: the uplinks and Redis alone
machines      several machines that share a Redis
capacity      what 10, 50 and 200 machines carry, computed from the results of machines
replay        memory, and the latency of others, while a node replays a long history
handover      CPU time of a request whose session another node has
watchers      CPU time of the watchers of a game
spare         the time until a killed node is back, with and without a spare process
restart       a rolling restart under load, which must lose nothing

competitors   the servers that are compared with the cluster
slow_site     the site of slow_views
layer_site    the site of channel_layer
consumer_site, consumer_urls  the site of consumers
socketio_site  the site of socketio
socketio_fuzz_site, socketio_sessions  the site and the clients of socketio_fuzz
replay_site   the site of replay
handover_site  the site of handover
servers       starts, measures and stops server processes
environments  environments of Python and Node with the competitors' libraries
load          the clients
restart_load  the clients of restart
roles         the processes of link and engine, and their CPU time
subscribers   the processes that receive a broadcast
command       the common parts of the commands: options, one comparison from start to report
rounds        the order in which candidates are measured
measurements  medians, ratios, tables
tables        writes the results into the documentation
"""
