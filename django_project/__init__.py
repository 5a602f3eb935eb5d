"""The demo site: a Django project as anyone would write it, served by the cluster.

settings.py      runs from an installed wheel in any folder, with nothing to set up
state.py         where the site keeps what must outlive a process: its secret key, its database
database.py      makes the tables before the first request
security.py      the middleware that sends the content security policy
urls.py wsgi.py  the usual two
views.py         the index of the demos
__main__.py      ``python -m django_project`` is ``manage.py`` where there is no checkout
templates/       base.html, which every page extends, and the error pages
static/          what every page shares
accounts/        logging in, and users to try it with
gameoflife/      Conway's Game of Life, one WebSocket client a cell
echo/            the C10k conversation, and raw echo
chat/            rooms with a memory
live/            a feed that an ordinary view publishes to
audiences/       messages to users, groups and sessions
"""
