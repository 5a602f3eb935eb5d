"""Machines on one host: network namespaces whose links can be cut, or loopback without root.

    with open_network(["a", "b", "redis"]) as network:
        subprocess.Popen(network["a"].command(["redis-cli", "-h", network["redis"].address]))
        network.cut("a", "redis")            nothing gets from a to redis; the answers do
        network.cut("redis", "a")            and now nothing in both directions
        network.heal()

Each namespace has one link, to a *routing* namespace that forwards between them. The programs of
this host reach all of them, too, over a link of their own. The addresses are of 198.18.0.0/15,
which is for tests (RFC 2544, appendix C.2.2).

A cut is a rule of nftables in the routing namespace. So a machine that is cut from Redis still
answers its clients, and neither end receives an error.
"""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from workers.demo.programs import Failed
from workers.drill.machines.cleaner import Cleaner

PREFIX = "c10k-"
ATTEMPTS = 20  # to find numbers that no other network of this host uses

DROP, RESET = "drop", "meta l4proto tcp reject with tcp reset"
"""What happens to packets of a cut link: nothing, or the sender receives a TCP reset."""


def loss(percent: int) -> str:
    """The rule of nftables that drops so many percent of the packets, 1 to 100, at random."""
    return f"numgen random mod 100 <= {percent - 1} drop"


class Unavailable(Failed):
    """This host cannot have namespaces; the text says why."""


class Host(Protocol):
    """A machine of a network. address: where the others reach it."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one on this machine; it keeps its process ID."""

    def port(self, wanted: int) -> int:
        """Return a port to listen on: the wanted one, if the machine has ports of its own."""


class Network(Protocol):
    """Machines by their names. can_cut: whether links can be cut."""

    @property
    def cleaner(self) -> Cleaner: ...

    @property
    def can_cut(self) -> bool: ...

    def __getitem__(self, name: str, /) -> Host: ...

    def cut(self, source: str, destination: str, rule: str = DROP) -> None:
        """Apply a rule to all packets from one machine to another."""

    def heal(self) -> None:
        """Remove all rules."""

    def link(self, name: str, up: bool) -> None:
        """Disconnect a machine from everything, or connect it again."""


def why_unavailable() -> str:
    """Return why this host cannot have namespaces; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: {package})"
    name = f"{PREFIX}try{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


@contextmanager
def open_network(names: Sequence[str]) -> Iterator["Namespaces"]:
    """Make a network of namespaces. At the end, however the program ends, all is removed, with the
    processes in them. Raises Unavailable."""
    reason = why_unavailable()
    if reason:
        raise Unavailable(reason)
    cleaner = Cleaner()
    try:
        network = Namespaces(names, cleaner)
        network.connect()
        yield network
    finally:
        cleaner.close()


@contextmanager
def open_loopback(names: Sequence[str]) -> Iterator["Loopback"]:
    """Make a network on the loopback interface, whose links cannot be cut."""
    cleaner = Cleaner()
    try:
        yield Loopback(names, cleaner)
    finally:
        cleaner.close()


@dataclass(frozen=True, slots=True)
class Namespace:
    """A machine with a network of its own."""

    name: str
    namespace: str
    address: str

    def command(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *command]

    def port(self, wanted: int) -> int:
        return wanted


class Namespaces:
    """The network that `open_network` makes."""

    can_cut = True

    def __init__(self, names: Sequence[str], cleaner: Cleaner) -> None:
        self.cleaner = cleaner
        self._rules: list[tuple[str, str, str]] = []
        self.number, self._hub = self._take_number()
        self._hosts = {
            name: Namespace(name, f"{self._hub}-{name}", self._address(index, 2))
            for index, name in enumerate(names, 1)
        }

    def __getitem__(self, name: str) -> Namespace:
        return self._hosts[name]

    def _take_number(self) -> tuple[int, str]:
        """Make the routing namespace, whose name is a lock of the addresses."""
        for _ in range(ATTEMPTS):
            number = random.randrange(1, 255)
            name = f"{PREFIX}{number}"
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
            if not made.returncode:
                self.cleaner.add("netns", name)
                return number, name
        raise Unavailable(made.stderr.strip())

    def _address(self, index: int, end: int) -> str:
        """The address of a link's end: 1 in the routing namespace, 2 the machine."""
        return f"198.18.{self.number}.{4 * index + end}"

    def connect(self) -> None:
        """Make all namespaces, links and routes."""
        hub = self._hub
        # Not in a namespace of its own: the programs of this host.
        outer = f"{PREFIX}{self.number}"
        self.cleaner.add("link", outer)
        _ip(
            f"link add {outer} type veth peer name host netns {hub}",
            f"address add {self._address(0, 2)}/30 dev {outer}",
            f"link set {outer} up",
        )
        _ip(f"address add {self._address(0, 1)}/30 dev host", "link set host up", inside=hub)
        _ip(f"route add 198.18.{self.number}.0/24 via {self._address(0, 1)}")
        for index, host in enumerate(self._hosts.values(), 1):
            _ip(f"netns add {host.namespace}")
            self.cleaner.add("netns", host.namespace)
            _ip(f"link add to{index} netns {hub} type veth peer name eth0 netns {host.namespace}")
            _ip(
                f"address add {self._address(index, 1)}/30 dev to{index}",
                f"link set to{index} up",
                inside=hub,
            )
            _ip(
                "link set lo up",
                f"address add {host.address}/30 dev eth0",
                "link set eth0 up",
                f"route add default via {self._address(index, 1)}",
                inside=host.namespace,
            )
        self._in_hub("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.heal()

    def cut(self, source: str, destination: str, rule: str = DROP) -> None:
        self._rules.append((self[source].address, self[destination].address, rule))
        self._apply()

    def heal(self) -> None:
        self._rules = []
        self._apply()

    def link(self, name: str, up: bool) -> None:
        host = self[name]
        _ip(f"link set eth0 {'up' if up else 'down'}", inside=host.namespace)
        if up:  # the kernel has removed the route with the link
            gateway = self._address(list(self._hosts).index(name) + 1, 1)
            _ip(f"route replace default via {gateway}", inside=host.namespace)

    def _apply(self) -> None:
        """Replace all rules in one transaction of nftables."""
        rules = [f"ip saddr {one} ip daddr {other} {rule}" for one, other, rule in self._rules]
        table = "\n".join(
            [
                "table ip c10k",  # so that the next line has something to delete
                "delete table ip c10k",
                "table ip c10k {",
                "chain forward {",
                "type filter hook forward priority 0; policy accept;",
                *rules,
                "}",
                "}",
                "",
            ]
        )
        self._in_hub("nft", "-f", "-", text=table)

    def _in_hub(self, *command: str, text: str = "") -> None:
        _run(["nsenter", f"--net=/run/netns/{self._hub}", "--", *command], text)


@dataclass(frozen=True, slots=True)
class LoopbackHost:
    """A machine that shares its address with all others."""

    name: str
    address: str = "127.0.0.1"

    def command(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def port(self, wanted: int) -> int:
        """Return a port that was free a moment ago."""
        with socket.socket() as found:
            found.bind((self.address, 0))
            return int(found.getsockname()[1])


@dataclass
class Loopback:
    """The network that `open_loopback` makes."""

    names: Collection[str]
    cleaner: Cleaner
    can_cut: bool = field(default=False, init=False)

    def __getitem__(self, name: str) -> LoopbackHost:
        if name not in self.names:
            raise KeyError(name)
        return LoopbackHost(name)

    def cut(self, source: str, destination: str, rule: str = DROP) -> None:
        raise Unavailable("links of the loopback interface cannot be cut")

    def heal(self) -> None:
        """There is nothing to remove."""

    def link(self, name: str, up: bool) -> None:
        raise Unavailable("machines on the loopback interface cannot be disconnected")


def _ip(*commands: str, inside: str = "") -> None:
    """Run commands of `ip`, in a namespace if one is named."""
    _run(["ip", *(["-netns", inside] if inside else []), "-batch", "-"], "\n".join(commands) + "\n")


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
