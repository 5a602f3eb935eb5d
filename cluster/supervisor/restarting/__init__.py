"""How processes are started again: after a failure, and with new code.

first_start      why children cannot start, and whether the cluster gives up
rolling_restart  replaces all processes one after the other
awaited_start    waits until a process serves, or cannot start
broker_code      whether the broker runs the code that is installed now
spare            a process that has loaded the site takes the place of a node that ends
code_changes     notices that the site's code has changed, while a process waits for its next start
"""
