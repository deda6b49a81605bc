"""Every command there is, with its line of help and the function that runs it."""

from __future__ import annotations

from typing import Any, ClassVar

from cli.ending import exit_codes
from cli.groups import Group, Late


class Config(Group):
    text = "Show and check the configuration."
    members: ClassVar = {
        "show": Late("cli.cmd_config:show_config", "Print every setting as it counts, secrets left out."),
        "schema": Late("cli.cmd_config:print_schema", "Print the JSON schema of backstay.toml."),
        "check": Late("cli.cmd_config:check_config", "Read the configuration and say what it holds."),
    }


class Backup(Group):
    text = "Take, list and show backups."
    members: ClassVar = {
        "full": Late("cli.cmd_backup_full:full", "Take a full backup of some shards, or of all."),
        "incremental": Late(
            "cli.cmd_backup_incremental:incremental", "Back up what changed since the last backup."
        ),
        "consolidate": Late(
            "cli.cmd_backup_consolidate:consolidate_chain", "Make a chain a full that is complete by itself."
        ),
        "hold": Late(
            "cli.cmd_backup_hold:hold_backup",
            "Keep a backup until a date, whatever retention says.",
            "--on",
        ),
        "release": Late("cli.cmd_backup_hold:release_backup", "End all holds of a backup.", "--on"),
        "list": Late(
            "cli.cmd_backup_list:list_backups", "List the backups of some shards, or of all.", "--from"
        ),
        "show": Late("cli.cmd_backup_show:show_backup", "Show all that is known of one backup.", "--from"),
    }


class Archive(Group):
    text = "Archive binlogs as they are written."
    members: ClassVar = {
        "run": Late(
            "cli.cmd_archive_run:run", "Archive the binlogs of some shards, or of all, as they are written."
        ),
        "status": Late(
            "cli.cmd_archive_status:status", "Say how the archives of some shards stand, or of all.", "--from"
        ),
        "branches": Late(
            "cli.cmd_archive_branches:branches", "List transactions that a failover left behind.", "--from"
        ),
        "purge": Late(
            "cli.cmd_archive_purge:purge_binlogs", "Purge binlogs from the sources of some shards, or of all."
        ),
        "verify": Late(
            "cli.cmd_archive_verify:verify_segments",
            "Read all that is archived of a shard again, without MySQL.",
            "--from",
        ),
        "export": Late(
            "cli.cmd_archive_export:export_branch", "Print what a lost primary alone had, as SQL.", "--from"
        ),
    }


class Keys(Group):
    text = "Keys: what each opens; how one comes, takes over, and goes."
    members: ClassVar = {
        "list": Late(
            "cli.cmd_keys:list_keys", "List the keys, what each opens, and what none of them opens.", "--from"
        ),
        "generate": Late(
            "cli.cmd_keys:generate_pair",
            "Make a pair of keys: one half writes backups, the other reads them.",
        ),
        "add": Late("cli.cmd_keys:add_keys", "Make keys of the configuration known to the repository."),
        "rotate": Late(
            "cli.cmd_keys_rotate:rotate",
            "Wrap every backup and every epoch of an archive by the first key, too.",
            "--on",
        ),
        "retire": Late(
            "cli.cmd_keys_retire:retire",
            "Retire a key: delete what it wraps, and make the repository forget it.",
            "--on",
        ),
    }


class Mirror(Group):
    text = "Keep a second place in another region up to date."
    members: ClassVar = {
        "run": Late(
            "cli.cmd_mirror_run:run", "Copy backups and archived binlogs to the mirror as they come."
        ),
        "status": Late("cli.cmd_mirror_status:status", "Say what of some shards the mirror has, or of all."),
    }


class Proof(Group):
    text = "Prove that shards can be recovered, by restoring them."
    members: ClassVar = {
        "run": Late(
            "cli.cmd_proof:run", "Restore a shard to now, prove it, measure it, and delete it again."
        ),
        "list": Late("cli.cmd_proof:list_all", "List the proofs of some shards, or of all.", "--from"),
    }


class Standby(Group):
    text = "Follow an archive with a server, and let it take over."
    default = "follow"
    members: ClassVar = {
        "follow": Late(
            "cli.cmd_standby:follow", "Restore a shard, and follow its archive until Ctrl-C or a promotion."
        ),
        "promote": Late(
            "cli.cmd_standby:promote_standby", "End a standby: prove it, and open it for writes."
        ),
        "status": Late("cli.cmd_standby:standby_status", "Say how a standby does."),
    }


class Sandbox(Group):
    text = "Real servers on this machine, to try things out."
    members: ClassVar = {
        "up": Late("cli.cmd_sandbox:up", "Start a fleet of MySQL servers and a store."),
        "down": Late("cli.cmd_sandbox:down", "Stop the fleet and delete all that it wrote."),
        "status": Late("cli.cmd_sandbox:status", "Say what of the fleet is running."),
        "sql": Late("cli.cmd_sandbox_sql:sql", "Run one statement on the primary of a shard, as root."),
        "load": Late("cli.cmd_sandbox_load:load", "Write to the shards for a while, then check every row."),
    }


class Root(Group):
    text = "Back up, restore and prove the shards of a MySQL fleet."
    members: ClassVar = {
        "config": Config,
        "init": Late("cli.cmd_init:init", "Create the repository, its keyring and its rescue files."),
        "check": Late(
            "cli.cmd_check:check", "Look at everything that backups and the archive need.", "--from"
        ),
        "status": Late(
            "cli.cmd_status:status", "Say whether every shard can be recovered, and what to do.", "--from"
        ),
        "backup": Backup,
        "archive": Archive,
        "find": Late(
            "cli.cmd_find:find_transactions", "Find transactions in the archive of a shard.", "--from"
        ),
        "show": Late(
            "cli.cmd_show:show_transaction", "Show what one archived transaction did, row by row.", "--from"
        ),
        "restore": Late(
            "cli.cmd_restore:restore", "Restore a shard into a directory, and prove it.", "--from"
        ),
        "diff": Late("cli.cmd_diff:diff", "Compare a table with what it was, row by row.", "--from"),
        "standby": Standby,
        "proof": Proof,
        "mirror": Mirror,
        "verify": Late(
            "cli.cmd_verify:verify", "Read all that is stored of a backup again, without MySQL.", "--from"
        ),
        "expire": Late("cli.cmd_expire:expire", "End the backups that retention does not keep.", "--on"),
        "prune": Late(
            "cli.cmd_prune:prune", "Delete what retention has ended, and binlogs that nothing needs.", "--on"
        ),
        "undelete": Late(
            "cli.cmd_undelete:undelete",
            "Bring back what was overwritten or deleted in the store since a moment.",
            "--on",
        ),
        "keys": Keys,
        "metrics": Late(
            "cli.cmd_metrics:metrics",
            "Print the fleet's status as Prometheus reads it, or answer Prometheus.",
        ),
        "serve": Late("cli.cmd_serve:serve", "Run the schedule, the archivers and the status page."),
        "deploy": Late("cli.cmd_deploy:deploy", "Put the schedule of the fleet onto a Prefect server."),
        "plan": Late("cli.cmd_plan:plan", "Forecast storage, cost, RTO and RPO, and which policies fit."),
        "sandbox": Sandbox,
    }

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (typer's signature)
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code:>3}", meaning) for code, meaning in exit_codes()])
