"""A context processor: which node serves the page."""

from django.http import HttpRequest

from cluster import NotRunning, node_name


def node(request: HttpRequest) -> dict[str, str]:
    """The name of the node; empty in a process that is not one."""
    try:
        return {"node": node_name()}
    except NotRunning:
        return {"node": ""}
