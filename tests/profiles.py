"""The settings of Hypothesis for all property tests.

Importing this module loads the profile named by HYPOTHESIS_PROFILE (default: ``quick``, or
``brief`` where C10K_TESTS says so). Where CI is set the examples are the same in each run, so that
a failure there can be reproduced here.

quick     for each save of a file: the whole of tests/core in a few seconds
brief     on the versions of Python that do not run all tests (tests/once.py), after one that does
thorough  before a release, or after a change to the core: minutes
"""

import os

from hypothesis import HealthCheck, settings

from tests.once import IS_BRIEF

_COMMON = settings(
    # No deadline: a shared machine is slow at times, and these properties do not depend on time.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Hypothesis would create its directory of examples in the working directory of the tests.
    database=None,
    # Several failures would be raised as an ExceptionGroup, of which trial shows only the first
    # line.
    report_multiple_bugs=False,
    derandomize="CI" in os.environ,
)

settings.register_profile("quick", _COMMON, max_examples=150, stateful_step_count=50)
settings.register_profile("brief", _COMMON, max_examples=40, stateful_step_count=30)
settings.register_profile("thorough", _COMMON, max_examples=3000, stateful_step_count=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "brief" if IS_BRIEF else "quick"))
