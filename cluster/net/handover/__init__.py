"""Hands the connections of Socket.IO clients over to the process that has their session.

A client that uses long polling opens connections to any node, and the first six characters of its
session id name the process that has the session. The other nodes pass the connection on to it, over
a private Unix socket in the cluster's runtime folder.

session_ids   the token of this process, and the session id in a request
messages      what travels over the Unix socket
handover      finds the process of a session, and passes connections to it
tunnel        pipes the bytes of a connection whose descriptor cannot be passed
receiver      takes the connections that other processes pass to this one

The descriptor of a connection is passed together with the bytes that have been read. Under TLS the
state of the encryption is in this process, so it stays, and the decrypted bytes are piped.
"""

from cluster.net.handover.session_ids import token_of_this_process

__all__ = ["token_of_this_process"]
