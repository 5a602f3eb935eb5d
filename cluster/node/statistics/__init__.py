"""The statistics of a node, for the metrics page.

counts    collects what the parts of the node count
latency   measures what clients wait for: turns of the event loop, fan-out
"""
