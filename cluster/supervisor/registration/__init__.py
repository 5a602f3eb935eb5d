"""How the children of a cluster find their supervisor and register with it.

roster           the names of the children, and the slots of the nodes
control_socket   the runtime folder, and the control socket in it
launcher         the command lines of the children
registry         what the supervisor does when a child registers, is ready, cannot start or leaves
"""
