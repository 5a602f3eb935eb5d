"""A Socket.IO client that uses long polling, with a connection of its own for each request.

It blocks: use it in a thread.
"""

import http.client
from collections.abc import Callable

REQUESTS = 4


def converse(connect: Callable[[], http.client.HTTPConnection], path: str = "/socket.io/") -> None:
    """Open a session, connect to the main namespace, and poll.

    Args:
        connect: Returns a connection that is used for one request.
        path: The path of the server.

    Raises:
        AssertionError: A request is not answered as by the process that has the session.
    """
    query = f"{path}?EIO=4&transport=polling"

    def ask(method: str, query: str, body: str | None = None) -> str:
        connection = connect()
        connection.request(method, query, body)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.status == 200, (response.status, text)
        return text

    sid = ask("GET", query).partition('"sid":"')[2].partition('"')[0]
    assert sid
    session = f"{query}&sid={sid}"
    assert ask("POST", session, "40") == "ok"
    assert ask("GET", session).startswith('40{"sid":')
    for _ in range(REQUESTS):
        # An event without a handler is ignored.
        assert ask("POST", session, '42["nothing"]') == "ok"
    ask("POST", session, "1")
