-- The accounts that Backstay needs on each shard, with the fewest privileges that suffice.
--
-- Run it once on the primary of each shard; replication carries it to the replicas:
--     mysql --host <primary> --user <administrator> -p < accounts.sql
-- Each CREATE USER prints the random password that it made (MySQL 8.0.18 and newer). Put it into a file that only
-- Backstay can read, and name that file in backstay.toml. A fleet has one password for each account: on the second
-- shard and all others write that password, in quotes, in place of RANDOM PASSWORD.
-- Narrow the host '%' to the network of your backup hosts.
-- The sandbox and the tests run this very file, so what it grants is what is needed.

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

-- 2. Replication, for a fleet that has no such account yet: replicas fetch the binlog with it.
CREATE USER 'replication'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL;
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';
