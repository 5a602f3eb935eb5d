"""UplinkState: what operators see of an uplink. Each change is logged, with its reason.

connecting    not joined yet
joining       a member without the state that the machines have agreed on, or about to join again
joined        the only state that is not degraded
interrupted   still a member, but the engine cannot be reached, or takes no writes
cut off       not a member any more; the nodes of this machine are alone
"""

import time

from twisted.logger import Logger

from cluster.logs.rate_limit import LimitedLog
from cluster.uplink.member import UplinkGateway


class UplinkState:
    """The state of an uplink, since when (Unix time in seconds), and the reason.

    Args:
        gateway: The gateway; a member has joined when the gateway has.
    """

    log = Logger()

    def __init__(self, gateway: UplinkGateway) -> None:
        self.name = "connecting"
        self.reason = ""
        self.since = time.time()
        self.member = ""
        self._gateway = gateway
        self._troubles: dict[str, str] = {}
        self._info = LimitedLog(self.log.info, "changes of the uplink")
        self._warn = LimitedLog(self.log.warn, "problems of the uplink")

    def joined(self, member: str) -> None:
        """The engine has accepted a member."""
        self.member = member
        self._troubles.clear()
        self.look()

    def trouble(self, what: str, reason: str) -> None:
        """Note why something is refused now, or that it is not any more if the reason is empty."""
        if reason:
            self._troubles[what] = reason
        elif self._troubles.pop(what, None) is None:
            return
        self.look()

    def look(self) -> None:
        """Set the state of a member."""
        if self._troubles:
            self.change("interrupted", next(iter(self._troubles.values())))
        else:
            self.change("joined" if self._gateway.state == "joined" else "joining", "")

    def change(self, name: str, reason: str) -> None:
        """Enter a state, or stay in it for another reason."""
        if (name, reason) == (self.name, self.reason):
            return
        if name != self.name:
            self.since = time.time()
        self.name, self.reason = name, reason
        if name in ("joining", "joined") and not reason:
            text = "{state} the other machines as {member}: {machines}"
            others = ", ".join(self._gateway.machines) or "there is no other"
            self._info(name, text, state=name, member=self.member, machines=others)
        else:
            self._warn(name, "uplink {state}: {reason}", state=name, reason=reason)

    def stop(self) -> None:
        """Log what was not logged yet."""
        self._info.stop()
        self._warn.stop()
