"""What several machines cost that share a Redis: `python -m benchmarks.machines`.

command          the command: all parts in turn, one report
link             CPU time of a publication, and of a subscription, from one machine to another one
link_processes   the processes of that: nodes and brokers
engine           CPU time of Redis by number of machines and size of what they write
broadcast        one publisher, a thousand subscribers on two machines; Channels and python-socketio
barrier          the time of a barrier's release
alone            one machine: without a bus, with one, and another revision
bus              Redis servers, and clusters that stand for machines
"""
