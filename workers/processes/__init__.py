"""The clients of a run and the processes that drive them.

client           one client, and the plan of a run
shard            the clients of one process: connects, counts, closes
shard_process    a shard in a child process
swarm            all shards of a run
pipes            a child process and its parent, one JSON text a line each way
timers           the few timers of a shard, known by name
timer_wheel      many timers for the price of one
process_setup    reactor, log, garbage collection, CPU time of a process
"""
