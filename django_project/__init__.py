"""The demo site: an ordinary Django project, served by the cluster.

settings.py      the settings; they work in any folder, also from an installed wheel
state.py         the folder with the site's secret key and database
database.py      creates the tables before the first request
security.py      the middleware that sends the content security policy
urls.py wsgi.py  as in every Django project
views.py         the index of the demos
__main__.py      ``python -m django_project``, for use outside a checkout instead of ``manage.py``
templates/       base.html, which every page extends, and the error pages
static/          styles and scripts that every page uses
accounts/        log-in and log-out, and demo users
gameoflife/      Conway's Game of Life, with one WebSocket client for each cell
echo/            the C10k conversation, and raw echo
chat/            rooms that keep their newest messages
live/            a feed to which an ordinary view publishes
audiences/       messages to users, groups and sessions
"""
