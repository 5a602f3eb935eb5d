"""Engine.IO revision 4 and Socket.IO revision 5, without input and output.

engine_packets   packets and payloads of Engine.IO as bytes
engine_session   the state machine of one Engine.IO session
packets          packets of Socket.IO as text and attachments
membership       the rooms of a socket, for events that it receives later
"""
