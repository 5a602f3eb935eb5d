"""The names that Autobahn sets on every connection, as slots instead of dictionary entries.

A dict of 60 names takes 1.6 KB a connection and is read a little slower. Each name here is set
before anything reads it (a slot hides a default of a base class, so names with a default that
counts must not be listed). A name that some other version of Autobahn adds goes to the
connection's dict, which exists as well; one that it drops costs 8 bytes.
"""

_NAMES = """
state data current_frame current_frame_masker inside_message
message_is_binary message_data message_data_total_length frame_length frame_data control_frame_data
send_state send_queue triggered trafficStats trackedTimings out
autoPingTimeoutCall autoPingPending autoPingPendingCall autoPingPendingSeq autoPingPendingSent
openHandshakeTimeoutCall closeHandshakeTimeoutCall
closedByMe failedByMe droppedByMe wasClean wasNotCleanReason wasServerConnectionDropTimeout
wasOpenHandshakeTimeout wasCloseHandshakeTimeout wasServingFlashSocketPolicyFile
wasMaxFramePayloadSizeExceeded wasMaxMessagePayloadSizeExceeded
localCloseCode localCloseReason remoteCloseCode remoteCloseReason
http_request_data http_response_data http_status_line http_headers http_request_uri
http_request_path http_request_params http_request_host
websocket_version websocket_protocols websocket_protocol_in_use websocket_origin
websocket_extensions websocket_extensions_in_use _wskey _perMessageCompress
is_open is_closed _transport_details _valid_events
"""

ALWAYS_SET = tuple(_NAMES.split())
