"""From a client's request to its handler.

dispatcher       accepts WebSocket clients and runs a handler for each
admission        the application's decision: the order of its steps
middleware       the site's middleware, around that decision
permissions      calls accept functions, decorated views and the functions of feeds
refusals         the answers to clients that are not accepted
requests         a client's HttpRequest
sessions         its session and user
url_resolver     the URLconf: path -> handler
origins          which pages may connect
proxies          addresses and schemes that a proxy reports
limits           how many connections and messages
"""
