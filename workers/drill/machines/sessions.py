"""Logouts in a drill: every socket of a session that was logged out must be closed.

A user logs in and opens a socket at each machine. Then the user logs out at one of them, at any
time, also while another machine is cut off. A socket may close earlier, by a fault.
"""

import asyncio
import http.client
import re
from itertools import count
from time import monotonic
from urllib.parse import urlencode, urlsplit

from workers.drill.socket import Lost, Socket
from workers.drill.websocket import connect

PASSWORD = "drill"
USERS = ("ada", "alan", "grace")
PATH = "chat/drill-sessions/ws/"
ANSWER_SECONDS = 5.0
PAUSE_SECONDS = 3.0


class Visit:
    """The sockets of one session that was logged out. at: when the view answered."""

    def __init__(self, number: int, sockets: list[tuple[str, Socket]]) -> None:
        self.number = number
        self.sockets = sockets
        self.at = monotonic()
        self.closed_after: float | None = None

    @property
    def open(self) -> list[str]:
        """The machines at which it has an open socket."""
        return [machine for machine, socket in self.sockets if not socket.ended]


class Sessions:
    """Call `start`, then `stop`; `violations` has the result. urls: machine -> base URL."""

    def __init__(self, urls: dict[str, str], sockets_each: int = 2) -> None:
        self.violations: list[str] = []
        self._urls = urls
        self._sockets_each = sockets_each
        self._visits: list[Visit] = []
        self._task: asyncio.Task[None] | None = None
        self._failed = 0

    def start(self) -> None:
        """Let users come and go."""
        self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """End all clients."""
        if self._task is not None:
            self._task.cancel()
        for visit in self._visits:
            for _, socket in visit.sockets:
                socket.abort()

    async def stop(self, patience: float) -> None:
        """Begin no more visits, and check. patience: seconds for the sockets to be closed, when
        all faults are over."""
        if self._task is not None:
            self._task.cancel()
        deadline = monotonic() + patience
        while any(visit.open for visit in self._visits) and monotonic() < deadline:
            self._look()
            await asyncio.sleep(0.05)
        self._look()
        for visit in self._visits:
            if visit.open:
                machines = ", ".join(sorted(set(visit.open)))
                self.violations.append(
                    f"session {visit.number} was logged out, and is still connected at {machines}"
                )
        self.cancel()

    def _look(self) -> None:
        for visit in self._visits:
            if visit.closed_after is None and not visit.open:
                visit.closed_after = monotonic() - visit.at

    @property
    def values(self) -> dict[str, float]:
        """The counts for the summary."""
        times = [visit.closed_after for visit in self._visits if visit.closed_after is not None]
        return {
            "logged_out": len(self._visits),
            "not_logged_out": self._failed,
            "sockets": sum(len(visit.sockets) for visit in self._visits),
            "longest": round(max(times, default=0.0), 2),
        }

    async def _run(self) -> None:
        names = list(self._urls)
        for number in count(1):
            user, machine = USERS[number % len(USERS)], names[number % len(names)]
            sockets: list[tuple[str, Socket]] = []
            try:
                cookie = await asyncio.to_thread(log_in, self._urls[machine], user)
                sockets = await self._open(cookie)
                machine = names[(number // len(names)) % len(names)]
                await asyncio.to_thread(log_out, self._urls[machine], cookie)
                self._visits.append(Visit(number, sockets))
            except (OSError, http.client.HTTPException, Lost):
                self._failed += 1  # a fault; whether the user is logged out is not known
                for _, socket in sockets:
                    socket.abort()
            deadline = monotonic() + PAUSE_SECONDS
            while monotonic() < deadline:
                self._look()
                await asyncio.sleep(0.05)

    async def _open(self, cookie: str) -> list[tuple[str, Socket]]:
        """Open sockets at all machines, and wait until their handlers answer. Raises Lost."""
        sockets: list[tuple[str, Socket]] = []
        try:
            for machine, url in self._urls.items():
                for _ in range(self._sockets_each):
                    address = url.replace("http", "ws", 1) + PATH
                    socket = await connect(address, headers={"Cookie": cookie})
                    sockets.append((machine, socket))
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await socket.receive()
        except (Lost, TimeoutError) as error:
            for _, socket in sockets:
                socket.abort()
            raise Lost(str(error)) from None
        return sockets


def log_in(url: str, user: str) -> str:
    """Log a user in; returns the cookies. Raises OSError or HTTPException if that fails."""
    with _Browser(url) as browser:
        browser.get("/login/")
        browser.post("/login/", username=user, password=PASSWORD)
        if "sessionid" not in browser.cookies:
            raise http.client.HTTPException("not logged in")
        return browser.cookie


def log_out(url: str, cookie: str) -> None:
    """Log a user out. Raises OSError or HTTPException if that fails."""
    with _Browser(url) as browser:
        browser.cookies = dict(pair.split("=", 1) for pair in cookie.split("; "))
        browser.get("/live/")  # any page of the site has the form
        browser.post("/logout/")


class _Browser:
    """Keeps cookies, and the token of the last form."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.cookies: dict[str, str] = {}
        self._token = ""
        self._connection = http.client.HTTPConnection(
            str(parts.hostname), int(parts.port or 80), timeout=ANSWER_SECONDS
        )

    def __enter__(self) -> "_Browser":
        return self

    def __exit__(self, *failure: object) -> None:
        self._connection.close()

    @property
    def cookie(self) -> str:
        """The header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def get(self, path: str) -> None:
        """Load a page with a form."""
        page = self._request("GET", path)
        token = re.search(rb'csrfmiddlewaretoken" value="(\w+)"', page)
        if token:
            self._token = token[1].decode()

    def post(self, path: str, **fields: str) -> None:
        """Send a form. Raises HTTPException unless the answer is a redirect, as after success."""
        self._request("POST", path, urlencode({"csrfmiddlewaretoken": self._token, **fields}), 302)

    def _request(self, method: str, path: str, body: str = "", status: int = 0) -> bytes:
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if status and answer.status != status:
            raise http.client.HTTPException(f"{method} {path}: {answer.status}")
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.split(";")[0]
        return content
