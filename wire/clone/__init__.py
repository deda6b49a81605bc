"""The clone protocol, from the recipient's side: a server's InnoDB data as a stream of blocks.

A donor takes a snapshot in stages. FILE: every file, as it lies on disk, while clients go on writing.
PAGE: the pages that were written meanwhile. REDO: the log that makes both one moment. Data comes in
*chunks* (4096 pages of one file, each sent by one connection) of *blocks* (64 pages). Between stages the
donor says which files were created, dropped and renamed, and waits for our ACK, which goes over a
connection of its own.

``messages`` and ``descriptors`` are codecs; ``connection`` reads packets off a socket; ``client`` runs
the whole.
"""
