"""Repository to server: plan, fetch, start a private server, prove.

A restore in pseudo-code (``full`` tells it in code; the modules of each step on the right):

    plan what to do with the target: fill it, go on, or rewrite what differs      target, plan
    lay out directories and files in their sizes, system tablespace parked        datadir
    for each stage: index parts -> jobs -> crew -> pwrite                         fetch, pieces, writing
        sync a batch, then journal it                                             ledger, journal
    give the system tablespace its name: only now does a mysqld start             datadir
    start a private mysqld that dies with us, and wait for recovery               mysqld, guarded, guardian
    exact GTID set, bracket, sources forgotten, CHECK TABLE                       proof

A *piece* is a run of bytes of one file in one frame, a *job* the pieces of one pack for one stage. The
*journal* in the target says which jobs are done for good: whatever ends a restore, the same command goes on.

May import ``wire``, ``repository`` and ``fleet``; never ``backup``.
"""
