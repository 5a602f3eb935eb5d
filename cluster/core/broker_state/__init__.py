"""The state that the broker decides by, and that nodes keep copies of.

exchange   the broker's state machine; a node without a broker runs it itself
barrier    Barrier: counts arrivals until it releases all parties
retained   RetainedFrames: the newest frames of a topic, for late and resuming subscribers
presence   PresenceTable: who is on a topic
"""
