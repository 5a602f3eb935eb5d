"""Load tests: `swarm echo`, `idle`, `broadcast` and `storm`.

echo_command             the options of `swarm echo`, its steps, its summary
echo_clients             clients that hold a conversation
echo_verification        pure: the conversation, and checks of the server's messages
idle_command             `swarm idle`
broadcast_command        `swarm broadcast`
broadcast_clients        publishers and subscribers of one topic
broadcast_verification   pure: which messages a subscriber has received
storm_command            `swarm storm`
storm_clients            clients that disconnect all at once, and reconnect
"""
