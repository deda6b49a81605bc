"""The archiver: a shard's binlogs, byte for byte, into the repository, as they are written.

``run`` starts one ``shard`` story for each shard: ``survey`` asks the servers, ``sources`` (pure) chooses
whom to follow and whether a new epoch begins, ``place`` reads from the store where the archive stands,
``receiver`` takes events from the source into the ``spool``, ``uploader`` cuts them into segments and puts
them. Where it is, it learns from the store and from what its own spool holds, never from a state file.

A commit is acknowledged to the source once it is durable, where the mode promises that: in the spool
(``local-sync``) or in the store (``store-sync``); ``semisync`` notices when the source stops to wait for it.
Asking for a position is an acknowledgement too, so none is asked for that is not durable.

``status`` tells how it goes, ``purge`` lets the source drop binlogs that are safe. May import ``wire``,
``repository`` and ``fleet``; nothing outside of ``backup`` but the doors imports it.
"""
