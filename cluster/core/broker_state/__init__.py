"""The broker's state and decisions. Nodes keep copies of parts of the state.

exchange       the broker's state machine; a node without a broker runs it itself
barrier        Barrier: counts arrivals until it releases all parties
topic_history  RetainedFrames: the newest frames of a topic, for late and resuming subscribers
retained_topic RetainedTopic: the frames of one topic, with their offsets and epochs
presence       PresenceTable: the members of a topic
"""
