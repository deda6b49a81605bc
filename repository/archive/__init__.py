"""The binlog archive of a shard: sealed segments, epochs, and the line of transactions that they make.

FORMAT.md, section 10, is its law. Nothing here knows a server: events come in as bytes and as
``fleet.transaction.Transaction``, and go out the same way.
"""
