"""The status page: what the cluster does now, for people and as JSON.

sampling        takes the samples, and answers with the document
history         samples of all processes, one a second, for the last five minutes
events          what happened: starts, ends, restarts
process_usage   CPU time and memory of a process
document        the content of /status.json
status_page     the resources of the admin port
static/         the page, which shows the document
"""
