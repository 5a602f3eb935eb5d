"""What gateways write <-> bytes.

log_payloads     to the log: the events of a turn
inbox_payloads   to the inbox of another gateway: batches, and pieces of a snapshot
plain_values     the values of a snapshot
"""
