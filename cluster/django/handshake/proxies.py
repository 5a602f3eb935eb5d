"""What a trusted proxy in front says of the client (--proxy-headers).

Read from the request's bytes: Autobahn's parser takes other control characters for line ends too,
so that a client could add a header of its own behind the proxy's back.
"""

from twisted.internet.abstract import isIPAddress, isIPv6Address


def forwarded(header: bytes) -> tuple[str | None, bool]:
    """The client's address, None if no valid one is given, and whether it came over TLS.

    Of several addresses the last counts, which is the one that the proxy itself saw.
    """
    client, secure = None, False
    for line in header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"x-forwarded-for":
                last = value.rpartition(b",")[2].strip().decode("latin-1")
                client = last if isIPAddress(last) or isIPv6Address(last) else None
            case b"x-forwarded-proto":
                secure = value.strip().lower() == b"https"
    return client, secure
