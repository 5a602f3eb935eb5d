"""One publisher and a thousand subscribers on two machines, with two server processes each.

The measurement is that of benchmarks.broadcast; half of the subscribers are connected to each
machine. Channels and python-socketio run as two servers with two workers each, on one Redis.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import environments
from benchmarks.broadcast import Plan, broadcast, redis
from benchmarks.machines.bus import machines, url_of
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, channels, cluster, uvicorn
from benchmarks.subscribers import PATH, PLAIN, SOCKET_IO

MACHINES, PROCESSES = 2, 2


@dataclass(frozen=True, slots=True)
class Site:
    """A site on one or several machines.

    competitor: its name in benchmarks.environments, empty for this project. layer: of Channels.
    """

    name: str
    machines: int = MACHINES
    processes: int = PROCESSES
    competitor: str = ""
    layer: str = ""

    def server(self, redis_url: str, cache: Path) -> Candidate:
        """Return the server of one machine; installs its libraries if they are missing."""
        python = environments.python_for(self.competitor, cache)
        if self.competitor == "socketio":
            environment = {"SOCKETIO_REDIS": redis_url}
            return uvicorn(self.name, python, self.processes, "socketio_site", "", environment)
        candidate = channels("uvicorn", python, self.processes, PATH, redis=redis_url)
        environment = {**candidate.environment, "CHANNELS_LAYER": self.layer}
        return replace(candidate, environment=environment)


TOTAL = MACHINES * PROCESSES
CLUSTERS = (
    Site(f"{MACHINES} machines × {PROCESSES} nodes"),
    Site(f"1 machine × {TOTAL} nodes", 1, TOTAL),
)
COMPETITORS = (
    Site("Channels (core)", competitor="channels", layer="core"),
    Site("Channels (pubsub)", competitor="channels", layer="pubsub"),
    Site("python-socketio", competitor="socketio"),
)


def measure(site: Site, plan: Plan, cache: Path, folder: Path) -> Measurements:
    """Make one run of one site."""
    with ExitStack() as stack:
        if site.machines == 1:
            server = stack.enter_context(Server(cluster(site.processes), folder))
            return broadcast([server], [], plan)
        store = stack.enter_context(redis(folder))
        url = url_of(store)
        if not site.competitor:
            servers = stack.enter_context(machines(site.machines, site.processes, url, folder))
            return broadcast(servers, [store], plan)
        server = site.server(url, cache)
        servers = [
            stack.enter_context(Server(replace(server, name=f"{site.name} {number}"), folder))
            for number in range(site.machines)
        ]
        dialect = SOCKET_IO if site.competitor == "socketio" else PLAIN
        try:
            return broadcast(servers, [store], plan, dialect)
        except Failed as error:
            raise Failed(f"{error}\n{servers[-1].output()[-2000:]}") from error
