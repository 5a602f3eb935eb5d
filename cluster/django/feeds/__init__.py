"""Feeds: topics that clients may read, over three transports.

feed_decorator        @feed makes a Django view from a function that returns topics
feed_subscriptions    the topics of one client, and its position in each
message_format        the format of messages, c10k.v1
websocket_transport   a feed over WebSocket
request_kind          what an HTTP request asks of a feed
http_requests         feeds over HTTP: accepts clients, and serves them
server_sent_events    a feed as server-sent events
bare_stream           the same without an envelope: the messages themselves
long_polling          a feed by long polling
web_request           the parts of twisted.web's request that feeds use
http_refusals         answers to HTTP requests that get no messages: refusals, preflights, HEAD
"""
