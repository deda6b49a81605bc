-- The accounts that Backstay needs on each shard, with the fewest privileges that suffice.
--
-- Run it once on the primary of each shard; replication carries it to the replicas:
--     mysql --host <primary> --user <administrator> -p < accounts.sql
-- Each CREATE USER prints the random password that it made (MySQL 8.0.18 and newer). Put it into a file that only
-- Backstay can read, and name that file in backstay.toml. A fleet has one password for each account: on the second
-- shard and all others write that password, in quotes, in place of RANDOM PASSWORD.
-- Narrow the host '%' to the network of your backup hosts.
-- The sandbox and the tests run this very file, so what it grants is what is needed; the sandbox runs the optional
-- GRANTs as well.

-- The clone plugin: on every server that may be a donor (plugins are not replicated), once.
--     INSTALL PLUGIN clone SONAME 'mysql_clone.so';

-- 1. Backups. It reads no row of yours.
CREATE USER 'backstay'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL;

-- BACKUP_ADMIN: the clone itself, and performance_schema.log_status (the bracket around the snapshot).
GRANT BACKUP_ADMIN ON *.* TO 'backstay'@'%';

-- REPLICATION CLIENT: SHOW REPLICA STATUS and SHOW BINARY LOGS, to choose a healthy donor.
-- PROCESS: information_schema.innodb_tablespaces, innodb_datafiles and files (encryption, files outside the data
--   directory), and the process list, to see a clone that runs already.
-- SHOW VIEW: the weakest privilege under which information_schema.tables shows every table with its engine. Clone
--   copies InnoDB alone, so a table of another engine must be found before the backup, not missed at the restore.
--   It shows definitions, no rows.
GRANT REPLICATION CLIENT, PROCESS, SHOW VIEW ON *.* TO 'backstay'@'%';

-- Table by table, since others in this schema hold the text of statements, values included.
GRANT SELECT ON performance_schema.log_status TO 'backstay'@'%';
GRANT SELECT ON performance_schema.clone_status TO 'backstay'@'%';
GRANT SELECT ON performance_schema.clone_progress TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_connection_configuration TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_connection_status TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_applier_status TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_applier_status_by_coordinator TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_applier_status_by_worker TO 'backstay'@'%';
GRANT SELECT ON performance_schema.replication_group_members TO 'backstay'@'%';

-- Optional, for incrementals of servers with much data that seldom changes. By its own page tracking a donor knows what
-- changed, and need not read and send the rest; without it a backup is as small, only the donor's work is not. It comes
-- with MySQL and stays on over restarts; once on each server that may be a donor, a replica not being read-only then:
--     INSTALL COMPONENT 'file://component_mysqlbackup';
--     SELECT mysqlbackup_page_track_set(true);
--   Its notes in #ib_archive grow by 8 bytes for each page that changed between two backups;
--   SELECT mysqlbackup_page_track_purge_up_to(<LSN>) forgets the older ones.
-- FILE: the server leaves its list in the folder #meb of its data directory, and LOAD_FILE alone can read it from afar.
--   FILE is strong: it reads and writes whatever the server may, so confine it in my.cnf (the folder must be there):
--   secure_file_priv = <datadir>/#meb/
-- SYSTEM_VARIABLES_ADMIN: to give the list its name. It may change any other global setting too.
--     GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO 'backstay'@'%';
-- INSERT here, if `backstay check --fix` shall do the above: it may load any component that the server has installed.
--     GRANT INSERT ON mysql.component TO 'backstay'@'%';

-- 2. The binlog archive (accounts.archive in backstay.toml). It reads every row that is written from now on, as any
-- replica does, so it is an account of its own, with a password of its own.
CREATE USER 'backstay_archive'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL;

-- REPLICATION SLAVE: to receive the binlog as a replica does, and SHOW REPLICAS, to know who else is connected.
GRANT REPLICATION SLAVE ON *.* TO 'backstay_archive'@'%';

-- REPLICATION CLIENT: SHOW BINARY LOGS (is anything about to be purged that was not archived?) and SHOW REPLICA STATUS
--   (which server is the primary, how far are its replicas).
GRANT REPLICATION CLIENT ON *.* TO 'backstay_archive'@'%';

-- Optional, for `backstay archive purge` alone, which deletes binlogs of the server that are archived and applied
-- everywhere. BINLOG_ADMIN is the weakest privilege that may purge, and it may also change binlog settings.
-- Without it the server's own binlog_expire_logs_seconds does the deleting.
--     GRANT BINLOG_ADMIN ON *.* TO 'backstay_archive'@'%';

-- Settings that serve the archive, on every server, in my.cnf (or with SET PERSIST):
--     binlog_row_metadata = FULL      names of columns in the binlog, so that `backstay show` can print them; costs a
--                                     few bytes for each table that a transaction touches
--     sync_binlog = 1                 the default: else a crash can lose transactions that the archive has
--     binlog_expire_logs_seconds      days, so that the archive can be down for hours without a gap

-- 3. Replication, for a fleet that has no such account yet: replicas fetch the binlog with it.
CREATE USER 'replication'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL;
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';

-- 4. Rows of live tables (accounts.diff in backstay.toml), for `backstay diff` alone, which compares a table with what
-- it was. Nothing else uses it; without the command, leave it out. It may read what you grant here, and do nothing:
CREATE USER 'backstay_diff'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL;

-- SELECT on the tables that may be compared: a table, a schema (as here), or *.* for all of them.
--     GRANT SELECT ON shop.* TO 'backstay_diff'@'%';
-- TRIGGER on the same, if the statements that `backstay diff --sql` writes shall come with a warning that triggers
-- would fire: only who has that privilege sees them. It also allows to create triggers, so it is not proposed.
