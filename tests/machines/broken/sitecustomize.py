"""Breaks a rule in each process of Python that starts with this folder on its path, to show that
the drill notices it. The variable C10K_BROKEN_RULE is "numbers".
"""

import os


def forget_numbers() -> None:
    """Nobody knows the number of a publisher's last publication, so one that is sent again after a
    fault is stored and delivered again."""
    from cluster.core.broker_state.retained_topic import RetainedTopic

    RetainedTopic.record_publishers = lambda self, published: None  # type: ignore[method-assign]


if os.environ.get("C10K_BROKEN_RULE") == "numbers":
    forget_numbers()
