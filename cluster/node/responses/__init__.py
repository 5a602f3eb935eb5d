"""How a node sends the responses of HTTP requests.

header         the header of a response, as bytes
static_files   the files of WhiteNoise's index, which need neither a thread nor Django
open_files     those of them that stay open
wsgi           calls the site's WSGI application in a thread, and sends its response
stream         a response in pieces, whose thread waits for its client
file_body      a file as the body of a response, read as fast as the client reads
"""
