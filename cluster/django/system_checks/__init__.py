"""System checks of ``manage.py check`` and ``manage.py check --deploy``.

site_checks     what is wrong on any machine; registers all checks
deploy_checks   check --deploy: what would go wrong in operation
bus_checks      check --deploy: the bus of a site of several machines
"""
