"""Floor 2: what Django developers touch.

handlers    @websocket makes a view of a coroutine that serves a WebSocket
connection  WebSocket: what such a handler gets, and its own client; subscriber: its topics;
            presence, barriers; attached: what these have in common
serving     lets clients in, and runs a handler for each
admission   who is let in: accept functions, decorators, permission functions of feeds
            requests   a client's HttpRequest; sessions: whose it is; proxies: where it comes from
            limits     how many connections and messages
revocation  closes who is let in no more; signals: when Django says so
database    in_database: threads for synchronous code
feeds       @feed makes a view of a function that names topics; its clients come by
            feed_socket  WebSocket, with the envelope of envelope.py
            feed_requests  HTTP: event_stream, long_poll; feed_answers for who gets neither;
            following is what all three share
audiences   publish_to users, groups, sessions; audience_socket: the WebSocket that hears it
topics      publish, listen and barrier, from anywhere in a node
outside     publish from processes that are no node
resolving   the URLconf: path -> handler
origins     which pages may connect
conf        the C10K setting; checks, deploy_checks: what manage.py check says about a site
management  manage.py runserver and publish

Django code reaches the node it runs in through ``topics.node``, which the node sets when it starts.
"""
