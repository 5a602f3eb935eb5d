"""Ten thousand clients: `swarm echo`, `idle`, `broadcast` and `storm`.

client             a run as each share of it is told, and one client of it
clients            one process's clients of whatever kind: connects, counts, closes
transcript         pure: the conversation of `swarm echo`, and whether the server keeps to it
delivery           pure: which messages of which publisher a subscriber has had
echo               clients that hold that conversation
storm              clients that go all at once, and come back
broadcast          publishers and subscribers of one topic
processes          a kind of clients in processes of their own
run                all processes of one run: starts them, waits for them, sums up
command            what the four subcommands share: options, signals, output, exit status
echo_command, idle_command, storm_command, broadcast_command
                   the options of each, its course, its summary
summary            what a run comes to, for machines and for people
memory             what the server's processes and the kernel use
status             what a person sees while it runs

    command -> run -> processes -> echo, storm, broadcast -> clients -> client
"""
