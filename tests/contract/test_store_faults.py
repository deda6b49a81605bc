"""What a store does when network or server fail: a clear error or, with retries, the right result."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from faulty_front import (
    Fault,
    FaultyFront,
    Happens,
    cuts_answer,
    cuts_request,
    loses_answer,
    passes,
    says,
    shortens_answer,
    stalls,
    with_a_flipped_bit,
    with_a_lost_end,
    without,
)
from front import Request

from fleet.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
    ToolError,
)
from repository.stores.counting import Counting, StoreCounts
from repository.stores.interface import Store
from repository.stores.retrying import Retrying, RetryPolicy
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client, S3Connection, connect
from repository.stores.yielding import Yielding

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer

pytestmark = pytest.mark.s3

PACK = hashlib.sha256(b"seed").digest() * 65_536
SUM = hashlib.sha256(PACK).digest()
SOON = RetryPolicy(
    first_delay_seconds=0.02, longest_delay_seconds=0.2, deadline_seconds=20, first_contact_seconds=20
)


@pytest.fixture(scope="module")
def client(faulty_front: FaultyFront, s3_connection: S3Connection) -> S3Client:
    return connect(replace(s3_connection, endpoint=faulty_front.address, addressing="path"))


@pytest.fixture(scope="module")
def hasty_client(faulty_front: FaultyFront, s3_connection: S3Connection) -> S3Client:
    return connect(replace(s3_connection, endpoint=faulty_front.address, read_timeout_seconds=1))


@pytest.fixture
def front(faulty_front: FaultyFront) -> Iterator[FaultyFront]:
    faulty_front.plan()
    yield faulty_front
    faulty_front.plan()


@pytest.fixture
def plain(client: S3Client, bucket: str, prefix: str, front: FaultyFront) -> S3Store:
    """A store that tries once and knows already that the server honours conditions."""
    store = S3Store(client, bucket, prefix)
    store.put("first", b"")
    front.seen.clear()
    return store


@pytest.fixture
def fresh(client: S3Client, bucket: str, prefix: str, front: FaultyFront) -> S3Store:
    """A store that has not met its server yet."""
    return S3Store(client, bucket, prefix)


@pytest.fixture
def counts() -> StoreCounts:
    return StoreCounts()


@pytest.fixture
def patient(plain: S3Store, counts: StoreCounts) -> Store:
    """The same with retries, counted."""
    return Retrying(Counting(plain, counts), SOON, on_retry=counts.record_retry)


def test_a_storm_of_503_is_survived(patient: Store, front: FaultyFront, counts: StoreCounts) -> None:
    front.plan(Fault("put", says(503, "SlowDown"), 60), Fault("get", says(500, "InternalError"), 40))

    def live(number: int) -> bytes:
        patient.put(f"data/p{number}", PACK, sha256=SUM)
        return patient.get(f"data/p{number}")

    with ThreadPoolExecutor(8) as threads:
        assert all(data == PACK for data in threads.map(live, range(24)))
    assert front.met == 100
    found = counts.snapshot()
    assert found["put"].retries == found["put"].failures == 60
    assert found["put"].requests == 84
    assert found["get"].retries == 40


def test_a_store_that_asks_for_less_gets_less_and_one_that_fails_does_not(
    plain: S3Store, front: FaultyFront
) -> None:
    yielding = Yielding(plain)
    store = Retrying(yielding, SOON)
    for number, said in enumerate((says(500, "InternalError"), says(503, "SlowDown"))):
        store.put(f"data/p{number}", PACK, sha256=SUM)
        assert yielding.pace.limit is None
        front.plan(Fault("put", said, 1))
        store.put(f"data/q{number}", PACK, sha256=SUM)
        assert store.get(f"data/q{number}") == PACK
    assert yielding.pace.limit is not None


def test_a_store_that_never_recovers_is_given_up_with_the_last_reason(
    plain: S3Store, front: FaultyFront
) -> None:
    front.plan(Fault("get", says(503, "SlowDown"), 10_000))
    hasty = Retrying(plain, replace(SOON, deadline_seconds=0.5, first_contact_seconds=0.5))
    with pytest.raises(StoreUnreachable, match=r"503 SlowDown.*tried \d+ times"):
        hasty.get("first")


@pytest.mark.parametrize(
    "fault",
    [
        says(429, "TooManyRequests"),
        says(409, "ConditionalRequestConflict"),
        says(500, "InternalError"),
        says(502, "BadGateway"),
        says(504, "GatewayTimeout"),
        cuts_request(after=0),
        cuts_request(after=100_000),
        loses_answer,
        passes(with_a_flipped_bit),
    ],
)
def test_a_put_that_failed_once_is_stored_once(
    patient: Store, plain: S3Store, front: FaultyFront, fault: Happens
) -> None:
    front.plan(Fault("put", fault))
    with pytest.raises(StoreUnreachable) as caught:
        plain.put("data/raw", PACK, sha256=SUM)
    assert caught.value.retryable
    front.plan(Fault("put", fault))
    stored = patient.put("data/p", PACK, sha256=SUM)
    assert front.met == 1
    assert (stored.size, stored.sha256) == (len(PACK), SUM)
    assert plain.get("data/p") == PACK


def test_an_answer_that_comes_too_late_is_not_waited_for(
    hasty_client: S3Client, bucket: str, prefix: str, front: FaultyFront
) -> None:
    """Late answers are of requests that were carried out: the second put meets the first one's object."""
    plain = S3Store(hasty_client, bucket, prefix)
    plain.put("first", b"")
    patient = Retrying(plain, SOON)
    for read in (lambda: patient.get("data/p"), lambda: patient.get_range("data/p", 0, len(PACK))):
        front.plan(*(Fault(each, stalls(1.5)) for each in ("put", "get", "get_range")))
        assert patient.put("data/p", PACK, sha256=SUM).size == len(PACK)
        assert read() == PACK
        # Two, or three where the comparison after the late put met the late get.
        assert front.met >= 2
        plain.delete("data/p")
    front.plan(Fault("put", stalls(1.5)))
    with pytest.raises(StoreUnreachable, match="data/p"):
        plain.put("data/p", PACK)


def test_an_object_of_another_writer_is_not_taken_for_ours_after_a_retry(
    patient: Store, plain: S3Store, front: FaultyFront
) -> None:
    plain.put("keys/claimed", b"theirs!")
    front.plan(Fault("put", cuts_request(after=0)))
    with pytest.raises(ObjectExists):
        patient.put("keys/claimed", b"ours, it")
    front.plan(Fault("put", cuts_request(after=0)))
    with pytest.raises(ObjectExists):
        patient.put("keys/claimed", b"ours, 7"[:7])
    assert plain.get("keys/claimed") == b"theirs!"


def test_a_put_that_was_cut_leaves_nothing(plain: S3Store, front: FaultyFront) -> None:
    front.plan(Fault("put", cuts_request(after=1_000_000)))
    with pytest.raises(StoreUnreachable):
        plain.put("data/cut", PACK)
    with pytest.raises(ObjectMissing):
        plain.stat("data/cut")
    assert [found.key for found in plain.list("data/")] == []


@pytest.mark.parametrize("fault", [cuts_answer(0), cuts_answer(700_000), says(503, "SlowDown")])
def test_a_get_that_was_cut_is_got_whole_the_next_time(
    patient: Store, plain: S3Store, front: FaultyFront, fault: Happens
) -> None:
    plain.put("data/p", PACK)
    for read in (lambda store: store.get("data/p"), lambda store: store.get_range("data/p", 0, len(PACK))):
        front.plan(Fault("get", fault), Fault("get_range", fault))
        with pytest.raises(StoreUnreachable):
            read(plain)
        front.plan(Fault("get", fault), Fault("get_range", fault))
        assert read(patient) == PACK


def test_an_answer_that_lies_about_its_length_is_damage(plain: S3Store, front: FaultyFront) -> None:
    plain.put("data/p", PACK)
    front.plan(Fault("get", shortens_answer(by=1)), Fault("get_range", shortens_answer(by=1)))
    with pytest.raises(ObjectDamaged, match="data/p"):
        plain.get("data/p")
    with pytest.raises(ObjectDamaged, match="data/p: 1000 bytes wanted from byte 5 on, 999 received"):
        plain.get_range("data/p", 5, 1000)


@pytest.mark.parametrize("checksum", ["sha256", "md5"])
def test_a_bit_that_flips_on_the_way_is_found_by_the_server(
    client: S3Client, bucket: str, prefix: str, front: FaultyFront, checksum: str
) -> None:
    store = S3Store(client, bucket, prefix, checksum="md5" if checksum == "md5" else "sha256")
    store.put("first", b"")
    front.plan(Fault("put", passes(with_a_flipped_bit)))
    with pytest.raises(StoreUnreachable, match="other bytes than were sent"):
        store.put("data/p", PACK, sha256=SUM)
    assert [found.key for found in store.list("data/")] == []


def test_a_server_without_checksums_is_confirmed_by_its_etag(plain: S3Store, front: FaultyFront) -> None:
    front.plan(Fault("put", passes(without("x-amz-checksum-sha256"))))
    assert plain.put("data/p", PACK, sha256=SUM).size == len(PACK)
    assert [seen.operation for seen in front.seen] == ["put"]


def test_a_server_that_tells_nothing_is_confirmed_by_reading_back(plain: S3Store, front: FaultyFront) -> None:
    front.plan(
        Fault("put", passes(without("x-amz-checksum-sha256"), forgetting=("etag",))),
        Fault("stat", passes(forgetting=("x-amz-checksum-sha256",))),
    )
    plain.put("data/p", PACK, sha256=SUM)
    assert [seen.operation for seen in front.seen] == ["put", "stat", "get"]


@pytest.mark.parametrize("damage", [with_a_flipped_bit, with_a_lost_end])
def test_a_server_that_stored_something_else_is_found_out(
    plain: S3Store, front: FaultyFront, damage: Callable[[Request], None]
) -> None:
    """No checksum protects this put, and the server says that all is well."""
    front.plan(Fault("put", passes(damage, without("x-amz-checksum-sha256"))))
    with pytest.raises(ObjectDamaged, match="something else under data/p"):
        plain.put("data/p", PACK, sha256=SUM)
    assert [found.key for found in plain.list("data/")] == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", StoreDenied),
        (403, "RequestTimeTooSkewed", StoreDenied),
        (401, "Unauthorized", StoreDenied),
        (405, "MethodNotAllowed", StoreDenied),
        (404, "NoSuchBucket", StoreDenied),
        (400, "InvalidArgument", StoreDenied),
        (507, "InsufficientStorage", StoreFull),
        (403, "QuotaExceeded", StoreFull),
        (400, "XMinioAdminBucketQuotaExceeded", StoreFull),
        (409, "FileAlreadyExists", ObjectExists),
        (412, "PreconditionFailed", ObjectExists),
    ],
)
def test_a_refusal_is_named_and_not_retried(
    patient: Store, front: FaultyFront, status: int, code: str, expected: type[ToolError]
) -> None:
    front.plan(Fault("put", says(status, code), 100))
    with pytest.raises(expected) as caught:
        patient.put("data/p", PACK)
    assert front.met == 1
    assert not caught.value.retryable
    assert expected is ObjectExists or code in caught.value.message
    assert expected is ObjectExists or caught.value.hint


def test_a_server_that_ignores_conditions_is_found_out_by_the_first_put(
    fresh: S3Store, front: FaultyFront
) -> None:
    front.plan(Fault("put", passes(without("if-none-match")), 1000))
    assert fresh.properties.conditional_put
    fresh.put("keys/one", b"first")
    assert not fresh.properties.conditional_put
    with pytest.raises(ObjectExists):
        fresh.put("keys/one", b"second")
    assert fresh.get("keys/one") == b"first"
    fresh.put("keys/two", b"two")


def test_a_server_that_ignores_conditions_does_not_even_lose_the_object_before_the_first_put(
    plain: S3Store, fresh: S3Store, front: FaultyFront
) -> None:
    plain.put("keys/one", b"first")
    front.plan(Fault("put", passes(without("if-none-match")), 1000))
    with pytest.raises(ObjectExists):
        fresh.put("keys/one", b"second")
    assert plain.get("keys/one") == b"first"


def test_a_server_that_knows_no_conditions_is_asked_first(fresh: S3Store, front: FaultyFront) -> None:
    front.plan(Fault("put", says(501, "NotImplemented")))
    fresh.put("keys/one", b"first")
    assert not fresh.properties.conditional_put
    with pytest.raises(ObjectExists):
        fresh.put("keys/one", b"second")
    fresh.put("keys/one", b"third", if_absent=False)
    assert fresh.get("keys/one") == b"third"


def test_the_trial_of_conditions_goes_on_after_a_failure(fresh: S3Store, front: FaultyFront) -> None:
    """The second put of the trial meets a 503: the object is stored, and the next put tries again."""
    fresh.put("keys/zero", b"")
    again = S3Store(fresh._client, fresh._bucket, fresh._prefix)
    front.plan(Fault("put", passes()), Fault("put", says(503, "SlowDown")))
    again.put("keys/one", b"one")
    assert front.met == 2
    front.seen.clear()
    again.put("keys/two", b"two")
    again.put("keys/three", b"three")
    assert [seen.operation for seen in front.seen] == ["stat", "put", "put", "put"]


def test_credentials_that_may_only_put_are_enough_for_a_put(fresh: S3Store, front: FaultyFront) -> None:
    front.plan(*(Fault(each, says(403, "AccessDenied"), 99) for each in ("stat", "get", "list", "delete")))
    fresh.put("keys/one", b"one", sha256=hashlib.sha256(b"one").digest())
    fresh.put("keys/two", b"two")
    with pytest.raises(ObjectExists):
        fresh.put("keys/two", b"two")
    with pytest.raises(StoreDenied):
        fresh.stat("keys/one")


def test_a_list_that_fails_between_pages_is_whole_and_has_nothing_twice(
    patient: Store, plain: S3Store, front: FaultyFront
) -> None:
    put = [f"data/p{number:05d}" for number in range(1200)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: plain.put(key, b""), put))
    for store in (plain, patient):
        listed = store.list("data/")
        found = [next(listed).key for _ in range(900)]
        front.plan(Fault("list", says(503, "SlowDown"), 2))
        if store is plain:
            with pytest.raises(StoreUnreachable):
                list(listed)
        else:
            found.extend(each.key for each in listed)
            assert found == put


def test_a_frozen_server_is_waited_for(
    seaweed: SeaweedServer, s3_connection: S3Connection, bucket: str, prefix: str
) -> None:
    hasty = connect(replace(s3_connection, read_timeout_seconds=0.5, connect_timeout_seconds=0.5))
    store = Retrying(S3Store(hasty, bucket, prefix), SOON)
    store.put("first", b"")
    seaweed.freeze()
    thaw = threading.Timer(2.5, seaweed.thaw)
    thaw.start()
    try:
        began = time.monotonic()
        stored = store.put("data/p", PACK, sha256=SUM)
        assert time.monotonic() - began > 2
    finally:
        thaw.join()
    assert stored.size == len(PACK)
    assert store.get("data/p") == PACK
