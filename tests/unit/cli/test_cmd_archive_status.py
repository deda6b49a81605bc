"""``backstay archive status`` of a shard whose servers do not answer."""

from __future__ import annotations

from door import Backstay


def test_a_shard_without_a_source_is_a_failure(backstay: Backstay) -> None:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    run = backstay("archive", "status", "s1")
    assert run.exit_code == 41
    assert "fail  shard s1" in run.out
    (shard,) = backstay("archive", "status", "s1", "--json").json["shards"]
    assert (shard["windows"], shard["backups"], shard["lag"]) == ([], 0, None)


def test_an_unknown_shard_is_told_the_nearest_one_by_a_restore(backstay: Backstay) -> None:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    run = backstay("restore", "s3", "--latest", "--into", "there", "--dry-run")
    assert run.exit_code == 40
    assert "Did you mean" in run.err
