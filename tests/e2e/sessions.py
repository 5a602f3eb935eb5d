"""Creates and changes users and sessions of a cluster under test, in a process outside of it.

Run as a program with the cluster's environment; prints one line of JSON.

    python -m tests.e2e.sessions new NAME [NAME …]      {NAME: session key, …}
    python -m tests.e2e.sessions PYTHON                 statements; ``user(NAME)``, ``session(KEY)``
"""

import json
import os
import sys
from typing import Any


def main(arguments: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "django_project.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session
    from django.test import Client

    from cluster import revoke

    users: Any = get_user_model().objects
    found = {}
    if arguments[0] == "new":
        for name in arguments[1:]:
            browser = Client(headers={"Host": "127.0.0.1"})
            user, is_new = users.get_or_create(username=name)
            if is_new:
                user.set_password("secret")
                user.save()
            browser.force_login(user)
            found[name] = browser.cookies[settings.SESSION_COOKIE_NAME].value
    else:
        names = {
            "revoke": revoke,
            "user": lambda name: users.get(username=name),
            "session": lambda key: Session.objects.get(session_key=key),
        }
        exec(arguments[0], names)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
