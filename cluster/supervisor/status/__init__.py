"""The status page: what the cluster does now, for people and as JSON.

sampling        takes the samples, and answers with the document
history         samples of all processes, one a second, for the last five minutes
events          what happened: starts, ends, restarts
process_usage   CPU time and memory of a process
document        the content of /status.json
uplink          the connection to other machines, as operators see it
host_check      the names by which the admin port may be addressed
status_page     the resources of the admin port
static/         the page, which shows the document
"""
