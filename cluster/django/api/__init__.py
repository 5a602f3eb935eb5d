"""What views, handlers, commands and scripts call.

publishing             publish
audiences              publish_to: users, groups, sessions, everybody
payloads               topics and messages, and what travels
json_messages          values to JSON text and back
publication, receipt   a message on its way, and what is known of it
backends               where a process hands over its publications
topics                 the node of this process; listen, members, abarrier
in_force               waits until subscriptions are in force on all nodes
topic_messages         the messages of a topic, for a coroutine
history_settings       which topics retain their newest messages
positions              positions in a topic's history, as clients send them
database_threads       ain_database: threads for synchronous code
"""
