"""The clone protocol, from the recipient's side: a server's InnoDB data as a stream of blocks.

A donor takes a snapshot in stages. FILE: every file, as it lies on disk, while clients go on writing.
PAGE: the pages that were written meanwhile. REDO: the log that makes both one moment. Data comes in
*chunks* (4096 pages of one file, each sent by one connection) of *blocks* (64 pages). Between stages the
donor says which files were created, dropped and renamed, and waits for our ACK, which goes over a
connection of its own.

After a broken connection the donor keeps the snapshot for some minutes. COM_REINIT goes on with it in any
stage, from the block behind the last one that we name: read in clone0clone.cc and clone0copy.cc, and tried by
cutting connections hundreds of times. What the donor sends anew (a page as it is by then, the changes of DDL
that it told before) is right, because what the first copy of a page lacks is in the redo log. One thing
waits with us: while the PAGE stage lasts, broken or not, the donor holds back index builds and changes of
encryption; renames, drops and other statements go on.

The same command leaves chunks out: we let the donor announce its files, break the connection, and come back
with chunks named as received that we hold from an earlier clone. Pages that change from then on come in the
PAGE stage all the same, also those of chunks that were left out.

``messages`` and ``descriptors`` are codecs; ``connection`` reads packets off a socket; ``client`` runs
the whole.
"""
