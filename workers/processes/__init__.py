"""The clients of a run and the processes that drive them.

plan             a run as every shard of it receives it
client           one client: the base class of all kinds
shard            the clients of one process: connects, counts, closes
shard_process    a shard in a child process
swarm            all shards of a run
pipes            a child process and its parent, which exchange JSON objects
timers           the few timers of a shard, by name
timer_wheel      many timers that share one call of the reactor
process_count    how many processes the swarm has by default
process_setup    reactor, log, limits, garbage collection, CPU time of a process

To add a kind of clients, write a subclass of Client and one of Shard, and a command that runs a
Swarm of these shards: load/storm_clients.py and load/storm_command.py are a short example.
"""
