"""Engine.IO revision 4 and Socket.IO revision 5, without input and output."""
