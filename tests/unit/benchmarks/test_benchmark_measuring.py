from __future__ import annotations

import os

import pytest

from benchmarks.dataset import ROW_BYTES, TABLES, lines, rows_for
from benchmarks.measuring import run_measured, size_of_tree
from benchmarks.tools import version_in
from fleet.errors import SandboxFailed


def measure(tmp_path, script, **arguments):
    return run_measured(
        ("bash", "-c", script),
        environ={"PATH": os.environ["PATH"]},
        servers=arguments.get("servers", {}),
        durable=arguments.get("durable"),
        log=tmp_path / "log",
    )


def test_the_cpu_time_of_all_processes_of_a_pipeline_counts(tmp_path):
    busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    alone = measure(tmp_path, f"bash -c '{busy}'")
    three = measure(tmp_path, f"bash -c '{busy}' | bash -c '{busy}' | bash -c '{busy}'")
    assert three.cpu_seconds > 1.7 * alone.cpu_seconds


def test_memory_is_that_of_the_processes_that_ran_at_the_same_time(tmp_path):
    # The last word keeps bash from turning itself into sleep, which would give the memory back.
    large = "x=$(head -c 20000000 /dev/zero | tr '\\0' a); sleep 0.6; :"
    one = measure(tmp_path, large)
    two = measure(tmp_path, f"({large}) & ({large}) & wait")
    assert one.peak_bytes > 20_000_000
    assert two.peak_bytes > one.peak_bytes + 15_000_000


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(SandboxFailed, match="bash ended with 3: no luck"):
        measure(tmp_path, "echo no luck >&2; exit 3")


def test_what_was_written_is_synced_and_counted(tmp_path):
    folder = tmp_path / "out"
    measure(tmp_path, f"mkdir -p {folder}/deep; head -c 1000 /dev/zero > {folder}/deep/file", durable=folder)
    assert size_of_tree(folder) == 1000
    assert size_of_tree(tmp_path / "nothing") == 0


def test_a_watched_server_is_told_by_its_name(tmp_path):
    used = measure(tmp_path, "true", servers={"donor": os.getpid()})
    assert used.servers_cpu_seconds["donor"] >= 0


def test_rows_are_as_wide_as_sysbenchs_and_always_the_same():
    rows = [line.rstrip("\n").split("\t") for line in lines(50)]
    assert {(len(c), len(pad)) for _, c, pad in rows} == {(119, 59)}
    assert all(1 <= int(k) <= 50 for k, _, _ in rows)
    assert list(lines(50)) == list(lines(50))
    assert rows_for(2_048_000_000) * TABLES * ROW_BYTES == pytest.approx(2_048_000_000, rel=0.001)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("restic 0.19.1 compiled with go1.26.4", (0, 19, 1)),
        ("mydumper 0.10.0, built against MySQL 10.11.14", (0, 10, 0)),
        ("OpenSSL 3.0.19 27 Jan 2026", (3, 0, 19)),
        ("no version at all", ()),
    ],
)
def test_a_version_is_the_first_one_that_a_program_tells(text, version):
    assert version_in(text) == version
