"""The uplink of a machine's broker: the engine that it shares with other machines.

url            parses `--bus`: where the engine is, and how to connect
probe          asks the engine before a cluster starts
server         checks what the engine's server says of itself
scripts        the Lua scripts, their keys and limits
redis_errors   the errors of Redis and of connections to it, as those of an engine
connection     one connection to Redis
redis_engine   RedisEngine: the engine on Redis
member         Member: writes, reads and beats, from one hello on
requests       external requests: processes without a node ask a machine to publish
state          UplinkState: what operators see, and the log
uplink         Uplink: the service that joins, writes, reads, and joins again
"""
