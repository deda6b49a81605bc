"""The binary log: MySQL's record of every transaction, as a file and as a replication stream.

A *binlog file* is the magic ``FE 62 69 6E`` and then *events*. The first describes the format, the second
lists the GTIDs executed before the file; then come transactions, each opened by a GTID event that says how
many bytes it takes; a rotate or stop event ends the file. An event is a header of 19 bytes (type, length,
place), a body, and a CRC32 if the file has checksums. A transaction of rows is GTID, BEGIN, then for each
statement table maps (what a table looks like) and rows events, then XID. DDL: GTID and one query event. With
``binlog_transaction_compression`` all after the GTID event is one payload event, zstd inside.

On a connection the same events come byte for byte, and between them events that stand in no file: artificial
rotates (which file begins now) and heartbeats.

``events`` is the codec's front door; ``walk`` steps over whole events, ``transactions`` tells what each
transaction did, ``rows`` decodes what it wrote. These are pure. ``dump`` receives from a source, ``source``
is one. May import ``fleet`` and the rest of ``wire``; knows nothing of the repository.
"""
