"""`make drill-machines`: several machines on one Redis, under random faults, checked by clients.

command      the options, the course, and the summary of a drill
faults       pure: which fault happens when, and when publications may be lost
injector     performs the faults
machine      a machine: a cluster that is killed as a whole and started again
meetings     a meeting at a barrier misses nobody
sessions     every socket of a logged-out session is closed
agreement    in the end all machines have the same history and the same members
redis        Redis servers and Sentinels that can be killed, stopped and set to another time
network      machines as network namespaces, whose links can be cut
clock        the wall clock of a process, which can be set
delay        a TCP proxy that delays what it forwards
cleaner      removes namespaces and processes, however the drill ends

The game, the feed and the chat are those of the package above. Run it with
`python -m workers.drill.machines`.
"""
