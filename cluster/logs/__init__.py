"""Floor 0, beside the core: the logs of a process, from an event to a line in a file.

untrusted_text   escapes control characters of what clients send
rate_limit       logs a repeated event a few times, then only how often
formats          events as lines of text or JSON
bounded_worker   a thread with a bounded queue: logging never blocks the event loop
outputs          where lines go: a descriptor, a file that can be reopened, syslog
line_writer      a queue of lines, and the thread that writes them to an output
standard_streams print and sys.stderr of a child process, as lines of the log
python_logging   Twisted's log and Python's logging, connected in both directions
process_log      all of these together, for one process
"""
