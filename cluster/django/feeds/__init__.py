"""Feeds: topics that any client may follow, over three transports.

decorator            @feed makes a Django view from a function that returns topics
feed_subscriptions   the topics of one client, and its position in each
message_format       the format of messages, c10k.v1
websocket            a feed over WebSocket
http_requests        feeds over HTTP: which requests are theirs, and who serves them
server_sent_events   a feed as server-sent events
long_polling         a feed by long polling
http_refusals        the answers to HTTP requests that get no feed
"""
