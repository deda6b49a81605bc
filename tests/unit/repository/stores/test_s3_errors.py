from __future__ import annotations

import re
from typing import Any

import pytest
from botocore import exceptions as botocore

from fleet.errors import (
    Cancelled,
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
    ToolError,
)
from repository.stores.s3_errors import mapped_to_store


def answered(status: int, code: str, message: str = "") -> botocore.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return botocore.ClientError(response, "PutObject")


def meaning(error: Exception) -> ToolError:
    with pytest.raises(ToolError) as caught, mapped_to_store("data/p", "s3://bucket/ at http://host"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchKey", ObjectMissing),
        (404, "404", ObjectMissing),
        (404, "NotFound", ObjectMissing),
        (404, "NoSuchBucket", StoreDenied),
        (412, "PreconditionFailed", ObjectExists),
        (412, "412", ObjectExists),
        (409, "FileAlreadyExists", ObjectExists),
        (409, "ObjectAlreadyExists", ObjectExists),
        (409, "ConditionalRequestConflict", StoreUnreachable),
        (409, "OperationAborted", StoreUnreachable),
        (409, "FileImmutable", StoreDenied),
        (403, "AccessDenied", StoreDenied),
        (403, "403", StoreDenied),
        (403, "InvalidAccessKeyId", StoreDenied),
        (400, "ExpiredToken", StoreDenied),
        (301, "PermanentRedirect", StoreDenied),
        (400, "AuthorizationHeaderMalformed", StoreDenied),
        (403, "QuotaExceeded", StoreFull),
        (507, "", StoreFull),
        (507, "XMinioStorageFull", StoreFull),
        (400, "BadDigest", StoreUnreachable),
        (400, "XAmzContentChecksumMismatch", StoreUnreachable),
        (400, "RequestTimeout", StoreUnreachable),
        (503, "SlowDown", StoreUnreachable),
        (503, "", StoreUnreachable),
        (500, "InternalError", StoreUnreachable),
        (429, "", StoreUnreachable),
        (501, "NotImplemented", StoreDenied),
        (416, "InvalidRange", ObjectDamaged),
        (400, "InvalidArgument", StoreDenied),
        (0, "", StoreDenied),
    ],
)
def test_what_a_server_says_has_one_meaning(status: int, code: str, expected: type[ToolError]) -> None:
    error = meaning(answered(status, code, "Something was said."))
    assert isinstance(error, expected)
    assert error.retryable == (expected is StoreUnreachable)
    assert "s3://bucket/ at http://host" in error.message
    assert not error.message.endswith(".")


def test_a_refusal_shows_what_the_server_said() -> None:
    error = meaning(answered(403, "AccessDenied", "No way."))
    assert error.message == ("data/p in s3://bucket/ at http://host is refused: 403 AccessDenied, No way")
    assert error.hint == "The credentials need put, get, list and delete on this bucket and prefix."


def test_a_full_store_offers_what_can_be_done() -> None:
    assert meaning(answered(507, "", "Full.")).hint == "Raise the quota, or add capacity."


def test_a_long_answer_is_cut() -> None:
    assert len(meaning(answered(400, "Odd", "x" * 100_000)).message) < 500


@pytest.mark.parametrize(
    "error",
    [
        botocore.EndpointConnectionError(endpoint_url="http://host"),
        botocore.ConnectTimeoutError(endpoint_url="http://host"),
        botocore.ReadTimeoutError(endpoint_url="http://host"),
        botocore.ConnectionClosedError(endpoint_url="http://host"),
        botocore.ResponseStreamingError(error="cut"),
        botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        botocore.ProxyConnectionError(proxy_url="http://proxy"),
        botocore.SSLError(endpoint_url="https://host", error="EOF occurred in violation of protocol"),
    ],
)
def test_no_answer_may_be_asked_for_again(error: Exception) -> None:
    assert isinstance(meaning(error), StoreUnreachable)


def test_a_certificate_that_cannot_be_trusted_is_not_retried() -> None:
    error = meaning(botocore.SSLError(endpoint_url="https://host", error="CERTIFICATE_VERIFY_FAILED"))
    assert isinstance(error, StoreDenied)
    assert error.hint is not None
    assert "AWS_CA_BUNDLE" in error.hint


@pytest.mark.parametrize(
    "error",
    [
        botocore.NoCredentialsError(),
        botocore.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        botocore.CredentialRetrievalError(provider="process", error_msg="exit 1"),
    ],
)
def test_missing_credentials_are_named(error: Exception) -> None:
    found = meaning(error)
    assert isinstance(found, StoreDenied)
    assert re.match("no credentials for s3://bucket/", found.message)


def test_a_wrong_checksum_of_what_came_back_is_damage() -> None:
    assert isinstance(meaning(botocore.FlexibleChecksumError(error_msg="differs")), ObjectDamaged)


def test_anything_else_of_botocore_is_a_refusal_and_a_bug_stays_a_bug() -> None:
    assert isinstance(meaning(botocore.ParamValidationError(report="Bucket")), StoreDenied)
    with pytest.raises(ZeroDivisionError), mapped_to_store("data/p", "s3://bucket/"):
        raise ZeroDivisionError


def test_a_stop_by_the_user_is_no_lost_connection() -> None:
    with pytest.raises(Cancelled), mapped_to_store("data/p", "s3://bucket/ at http://host"):
        try:
            raise Cancelled("stopped by SIGTERM")
        except Exception as error:
            raise botocore.HTTPClientError(error=error) from error
