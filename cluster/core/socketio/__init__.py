"""Engine.IO revision 4 and Socket.IO revision 5, without input and output.

engine_packets     packets and payloads of Engine.IO as bytes
engine_session     the state machine of one Engine.IO session
engine_decisions   what a session decides
packets            packets of Socket.IO as text and attachments
placeholders       binary parts in the data of a packet
reassembly         a packet and the attachments that follow it
membership         the rooms of a socket, for events that it receives later
"""
