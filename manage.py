#!/usr/bin/env python
"""``./manage.py COMMAND`` in a checkout; ``python -m django_project COMMAND`` anywhere."""

from django_project.__main__ import main

if __name__ == "__main__":
    main()
