"""What a Django team brings along: consumers of Channels, and an async view that streams.

consumers   two consumers, written as for any server of Channels
views       the page and the stream
"""
