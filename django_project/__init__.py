"""The demo site: a Django project as anyone would write it, served by the cluster.

settings.py      runs from an installed wheel in any folder, with nothing to set up
state.py         where the site keeps what must outlive a process: its secret key, its database
security.py      the middleware that sends the content security policy
urls.py wsgi.py  the usual two
__main__.py      ``python -m django_project`` is ``manage.py`` where there is no checkout
templates/       base.html, which every page extends, and the error pages
static/          what every page shares
gameoflife/      Conway's Game of Life, one WebSocket client a cell
"""
