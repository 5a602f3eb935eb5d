"""The uplink of a machine's broker: the engine that it shares with other machines.

url            parses `--bus`: where the engine is
probe          asks the engine before a cluster starts
server         checks what the engine's server says of itself
scripts        the Lua scripts, their keys and limits
connection     one connection to Redis, and its errors as those of an engine
redis_engine   RedisEngine: the engine on Redis
member         Member: writes, reads and beats, from one hello on
requests       external requests: processes without a node ask a machine to publish
state          UplinkState: what operators see, and the log
uplink         Uplink: the service that joins, writes, reads, and joins again
"""
