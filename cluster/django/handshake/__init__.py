"""From a client's request to its handler.

dispatcher   accepts clients and runs a handler for each
url_resolver the URLconf: path -> handler
admission    who is accepted: accept functions, login, permission functions of feeds
requests     a client's HttpRequest
sessions     its session and user
origins      which pages may connect
proxies      addresses and schemes that a proxy forwards
limits       how many connections and messages
"""
