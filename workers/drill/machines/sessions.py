"""Logouts in a drill: every socket of a session that was logged out must be closed.

A user logs in and opens sockets at each machine. Later the user logs out at one of them, perhaps
while another machine is cut off, which learns of it when it is connected again. A socket may close
earlier, by a fault.
"""

import asyncio
import http.client
import random
import re
from collections.abc import Callable
from itertools import count
from time import monotonic
from urllib.parse import urlencode, urlsplit

from workers.drill.socket import Lost, Socket
from workers.drill.websocket import connect

PASSWORD = "drill"
USERS = ("ada", "alan", "grace")
PATH = "chat/drill-sessions/ws/"
ANSWER_SECONDS = 5.0
STAY_SECONDS = (1.0, 8.0)
"""Between login and logout, from and to: so that faults begin in between."""

LOOK_SECONDS = 0.05

CLOSED_SECONDS = 2.0
"""For the sockets to be closed, after the logout and after all machines are joined again."""


class Visit:
    """The sockets of one session that was logged out. at: when the view answered."""

    def __init__(self, number: int, sockets: list[tuple[str, Socket]]) -> None:
        self.number = number
        self.sockets = sockets
        self.at = monotonic()
        self.is_late = False

    @property
    def open(self) -> list[str]:
        """The machines at which it has an open socket."""
        return [machine for machine, socket in self.sockets if not socket.ended]


class Sessions:
    """Call `start`, then `stop`; `violations` has the result.

    urls: machine -> base URL. calm_since: returns the time since which there was no fault, None
    during one.
    """

    def __init__(
        self,
        urls: dict[str, str],
        seed: int,
        calm_since: Callable[[], float | None],
        sockets_each: int = 2,
    ) -> None:
        self.violations: list[str] = []
        self._urls = urls
        self._dice = random.Random(seed)
        self._calm_since = calm_since
        self._sockets_each = sockets_each
        self._numbers = count(1)
        self._open: list[Visit] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._counts = {"logged_out": 0, "not_logged_out": 0, "sockets": 0}
        self._longest = 0.0
        self._longest_calm = 0.0

    def start(self) -> None:
        """Let users come and go."""
        self._tasks = [asyncio.create_task(self._visits(user)) for user in USERS[:2]]
        self._tasks.append(asyncio.create_task(self._watch()))

    @property
    def is_violated(self) -> bool:
        """Whether a rule is violated already, before the end."""
        return bool(self.violations)

    def cancel(self) -> None:
        """End all clients."""
        for task in self._tasks:
            task.cancel()
        for visit in self._open:
            _abort(visit.sockets)

    async def stop(self) -> None:
        """Begin no more visits, and check. Call it when all faults are over."""
        *visits, watching = self._tasks
        for task in visits:
            task.cancel()
        while any(not visit.is_late for visit in self._open) and not watching.done():
            await asyncio.sleep(LOOK_SECONDS)
        if watching.done():
            watching.result()
        self.cancel()

    @property
    def values(self) -> dict[str, float]:
        """The counts for the summary. longest: seconds until the sockets of a session were closed;
        longest_calm: the same after the end of all faults."""
        return {
            **self._counts,
            "longest": round(self._longest, 2),
            "longest_calm": round(self._longest_calm, 2),
        }

    async def _watch(self) -> None:
        """See when the sockets are closed, and whether that is too late."""
        while True:
            now, calm_since = monotonic(), self._calm_since()
            for visit in self._open[:]:
                due_since = None if calm_since is None else max(calm_since, visit.at)
                if not visit.open:
                    self._open.remove(visit)
                    self._longest = max(self._longest, now - visit.at)
                    if due_since is not None:
                        self._longest_calm = max(self._longest_calm, now - due_since)
                elif due_since is not None and now - due_since > CLOSED_SECONDS:
                    if not visit.is_late:
                        machines = ", ".join(sorted(set(visit.open)))
                        self.violations.append(
                            f"session {visit.number} was logged out, and is still connected at"
                            f" {machines}"
                        )
                    visit.is_late = True
            await asyncio.sleep(LOOK_SECONDS)

    async def _visits(self, user: str) -> None:
        names = list(self._urls)
        while True:
            number = next(self._numbers)
            sockets: list[tuple[str, Socket]] = []
            try:
                url = self._urls[self._dice.choice(names)]
                cookie = await asyncio.to_thread(log_in, url, user)
                sockets = await self._open_sockets(cookie)
                await asyncio.sleep(self._dice.uniform(*STAY_SECONDS))
                url = self._urls[self._dice.choice(names)]
                await asyncio.to_thread(log_out, url, cookie)
                self._logged_out(Visit(number, sockets))
            except (OSError, http.client.HTTPException, Lost):
                self._counts["not_logged_out"] += 1  # a fault: whether it was is not known
                _abort(sockets)
                await asyncio.sleep(STAY_SECONDS[0])
            except asyncio.CancelledError:
                _abort(sockets)
                raise

    def _logged_out(self, visit: Visit) -> None:
        self._counts["logged_out"] += 1
        self._counts["sockets"] += len(visit.sockets)
        self._open.append(visit)

    async def _open_sockets(self, cookie: str) -> list[tuple[str, Socket]]:
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
            _abort(sockets)
            raise Lost(str(error)) from None
        return sockets


def _abort(sockets: list[tuple[str, Socket]]) -> None:
    for _, socket in sockets:
        socket.abort()


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
