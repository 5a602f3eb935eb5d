"""The default number of the swarm's processes."""

CLIENTS_A_PROCESS = 4096  # see docs/topics/swarm.md
SPARED_DESCRIPTORS = 64  # in each process, for files that are not connections: log, epoll, pipes


def default_processes(clients: int, cores: int, open_files: int) -> int:
    """Return the number that is worth its cost, or more if the limit on open files requires it."""
    return max(worthwhile_processes(clients, cores), necessary_processes(clients, open_files))


def worthwhile_processes(clients: int, cores: int) -> int:
    """Return how many processes are worth their cost: at most half of the number of cores.

    The server needs the other cores; docs/topics/swarm.md explains this.
    """
    return max(1, min(cores // 2, -(-clients // CLIENTS_A_PROCESS)))


def necessary_processes(clients: int, open_files: int) -> int:
    """Return how many processes are necessary if each may open `open_files` files."""
    return -(-clients // max(1, open_files - SPARED_DESCRIPTORS))
