"""What views, handlers, commands and scripts may call.

publishing           publish
external_publisher   publish from a process that is not a node
audiences            publish_to: users, groups, sessions, everybody
topics               the node of this process; listen, members, barrier
topic_messages       topic_messages: a topic's messages for a coroutine
retention            which topics keep their newest messages
database             in_database: threads for synchronous code
"""
