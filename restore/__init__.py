"""Repository to server: plan, fetch, start a private server, replay, prove.

A restore in pseudo-code (``full`` tells it in code; the modules of each step on the right):

    plan what to do with the target: fill it, go on, or rewrite what differs      target, plan
    lay out directories and files in their sizes, system tablespace parked        datadir
    for each stage: index parts -> jobs -> crew -> pwrite                         fetch, pieces, writing
        sync a batch, then journal it                                             ledger, journal
    give the system tablespace its name: only now does a mysqld start             datadir
    start a private mysqld that dies with us, and wait for recovery               mysqld, guarded, guardian
    exact GTID set, bracket, sources forgotten, CHECK TABLE                       proof

A restore to a point (``point_restore`` tells it) puts a replay between start and proof:

    what the operator names -> a place in the archive's line, its neighbours      point, walk, archived
    which backup leads there, which segments, how long; or what would work        point_plan, point_planning
    bring the backup as above, and prove it                                       replaying
    server without binlog, relaxed; empty transactions for what is skipped        replay_server
    archive -> replication source -> MySQL's parallel applier, held at the point  feed, replay, applier
    stop in order, start durable, exact GTID set, CHECK TABLE                     point_proof
    note the restored server in the archive: its life opens a new epoch           point_restore

``fleet_restore`` does that for several shards and one moment; a ``standby`` never stops replaying
(``following``, ``standby_status``) until it is promoted, which is a restore to a point from where it stands.

A comparison with the past (``diff`` tells it) reads two servers in step and changes neither:

    the live table's server, and an account that may read it                      diff_source
    the table at the point, alone, in a private server                            table_restore
    columns and keys that both have, one order of rows for both sides             diff_definition, diff_plan
    both streams merged, in memory that does not grow with them                   diff_compare, diff_merge
    the statements that would undo it, for a person to read                       diff_undo

``table_sql`` writes a table of a private server as SQL.

Single tables come back by themselves (``table_restore`` tells it):

    the range's index: transactions of these tables, DDL under all their names    table_log, table_history
    the system's files and the tables' own, of a backup that is cut down to them  table_files, table_plan
    a start that recovers without the others, and tells what more they need       table_needs
    a start that is sent their transactions alone; proof; the rest is dropped     table_restore
    left running, exported as tablespaces, or written as SQL                      table_delivery, table_sql

A *piece* is a run of bytes of one file in one frame, a *job* the pieces of one pack for one stage. The
*journal* in the target says which jobs are done for good: whatever ends a restore, the same command goes on.

May import ``wire``, ``repository`` and ``fleet``; never ``backup``.
"""
