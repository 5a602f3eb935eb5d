"""Echo in plain Autobahn on Twisted: `python -m benchmarks.competitors.autobahn_echo [--site]`.

Autobahn is used as in its documentation: a protocol and its factory on a separate port, or with
--site a WebSocketResource under twisted.web. It runs on Twisted's default reactor with all defaults
(in the versions we know, Nagle's algorithm is on even if the option turns it off).
"""

import argparse
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


def main() -> None:
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--site", action="store_true", help="under twisted.web, at /echo/")
    parser.add_argument("--ping", type=float, default=0, help="seconds between pings; 0: none")
    options = parser.parse_args()
    factory: Any = WebSocketServerFactory()
    factory.protocol = Echo
    if options.ping:
        factory.setProtocolOptions(autoPingInterval=options.ping, autoPingTimeout=30)
    if options.site:
        factory.startFactory()  # only a listening port would call this
        root = Resource()
        root.putChild(b"echo", WebSocketResource(factory))
        factory = Site(root)
    port = reactor.listenTCP(  # type: ignore[attr-defined]
        options.port, factory, backlog=4096, interface="127.0.0.1"
    )
    print(f"listening on ws://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
