"""Floor 2: what Django developers use.

handlers/         @websocket and the WebSocket object that handlers get
api/              publish, audiences, topics, ain_database: what any code may call
handshake/        who may connect: URLs, middleware, sessions, origins, limits; runs handlers
feeds/            @feed: topics over server-sent events, long polling and WebSocket
external/         publishing from processes that are not nodes
contrib/          the protocol of django-websocket-redis
revocation/       closes clients whose session or user changed
client_expiry     closes clients whose session expired, or who are connected for too long
operations        what the command c10k does, for views
models, admin     who is connected, in Django's admin
request_context   the language, time zone and context variables that middleware made active
conf              the C10K setting; conf_topics: its key TOPICS; conf_machines: its keys BUS,
                  MACHINE and SITE
system_checks/    what manage.py check reports, and check --deploy
apps, management  the Django application and its commands

Code on this floor reaches the node of its process through ``api.topics.node``.
"""
