-- Role and database of the Prefect server: sudo -u postgres psql -v ON_ERROR_STOP=1 -f postgresql.sql
--
-- The role has no password: PostgreSQL knows the system's user `prefect` by its socket (`local all all peer` in
-- pg_hba.conf, as Debian has it). For a server on another host: ALTER ROLE prefect PASSWORD '...'; and a line
-- `hostssl prefect prefect 192.0.2.10/32 scram-sha-256` with the address it comes from.

CREATE ROLE prefect LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 60;
CREATE DATABASE prefect OWNER prefect ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE prefect FROM PUBLIC;

\connect prefect
-- For its search of names.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
