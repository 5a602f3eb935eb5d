"""The broker's process: forwards batches between the nodes of a machine, and keeps what they share.

broker              Broker: the ROUTER socket to the nodes
queues              messages for nodes that do not read
history_file        the file with what topics retain
gateway_broker      GatewayBroker: the broker of one of several machines
"""
