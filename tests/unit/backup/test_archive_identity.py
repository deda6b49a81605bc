"""Two archivers of one shard are the same replica; those of other shards are not."""

from backup.archive.identity import replica_identity

ID = "0123456789abcdef0123456789abcdef"


def test_the_same_shard_of_the_same_repository_has_the_same_identity_everywhere() -> None:
    assert replica_identity(ID, "s1") == replica_identity(ID, "s1")


def test_other_shards_and_repositories_have_others() -> None:
    known = [replica_identity(ID, "s1"), replica_identity(ID, "s2"), replica_identity(ID[::-1], "s1")]
    assert len({one.replica_uuid for one in known}) == len({one.server_id for one in known}) == 3


def test_a_derived_server_id_lies_in_the_upper_half_of_what_mysql_takes() -> None:
    assert all(2**31 <= replica_identity(ID, f"s{n}").server_id < 2**32 for n in range(1000))


def test_a_configured_server_id_is_used_and_the_uuid_stays() -> None:
    assert replica_identity(ID, "s1", 77) == (77, replica_identity(ID, "s1").replica_uuid)
