"""How many processes the swarm has if the user does not say."""

CLIENTS_A_PROCESS = 4096  # see docs/topics/swarm.md
SPARED_DESCRIPTORS = 64  # in each process, for files that are not connections: log, epoll, pipes


def default_processes(clients: int, cores: int, open_files: int) -> int:
    """As many as are worth their cost, and enough for the limit on open files of each process."""
    return max(worthwhile_processes(clients, cores), necessary_processes(clients, open_files))


def worthwhile_processes(clients: int, cores: int) -> int:
    """How many processes are worth their cost: they take half of the cores at most.

    The server needs the other cores; docs/topics/swarm.md explains it.
    """
    return max(1, min(cores // 2, -(-clients // CLIENTS_A_PROCESS)))


def necessary_processes(clients: int, open_files: int) -> int:
    """How many processes are necessary if each may open so many files."""
    return -(-clients // max(1, open_files - SPARED_DESCRIPTORS))
