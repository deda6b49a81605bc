"""What an answer of an S3 server, or none, means for a store. The only place that names botocore's errors.

Codes: "Error Responses" in the S3 API reference, and Alibaba Cloud OSS's and MinIO's own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError

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


class NotImplementedThere(StoreDenied):
    """The server does not know a header or an operation."""


class TooMuch(StoreUnreachable):
    """The server has more to do than it can, and asks for less."""

    asks_for_less = True


class DigestRefused(StoreUnreachable):
    """The server received other bytes than the checksum says."""


class _Rule(NamedTuple):
    """What an answer with one of these codes, or one of these statuses, means."""

    error: type[ToolError]
    codes: frozenset[str]
    statuses: frozenset[int]
    message: str
    hint: str | None = None


# The first rule that fits holds.
_RULES = (
    _Rule(
        StoreDenied,
        frozenset({"NoSuchBucket"}),
        frozenset(),
        "{place} does not exist ({said})",
        "Create the bucket, or correct the repository's URL.",
    ),
    _Rule(
        StoreFull,
        frozenset(
            {
                "InsufficientStorage",
                "QuotaExceeded",
                "QuotaExceededException",
                "StorageFull",
                "XMinioAdminBucketQuotaExceeded",
                "XMinioStorageFull",
            }
        ),
        frozenset({507}),
        "no room for {where}: {said}",
        "Raise the quota, or add capacity.",
    ),
    _Rule(
        DigestRefused,
        frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}),
        frozenset(),
        "{where} arrived with other bytes than were sent ({said})",
    ),
    _Rule(
        TooMuch,
        frozenset(
            {
                "RequestLimitExceeded",
                "RequestThrottled",
                "ServiceUnavailable",
                "SlowDown",
                "Throttling",
                "ThrottlingException",
                "TooManyRequests",
            }
        ),
        frozenset({429, 503}),
        "{where}: the store asks to try again later ({said})",
    ),
    _Rule(
        StoreUnreachable,
        # The first two: conditional requests met, none has decided yet, and the next try gets a definite
        # answer.
        frozenset(
            {
                "ConditionalRequestConflict",
                "OperationAborted",
                "InternalError",
                "RequestTimeout",
            }
        ),
        frozenset({408, 425, 500, 502, 504}),
        "{where}: the store asks to try again later ({said})",
    ),
    _Rule(
        ObjectExists,
        frozenset({"PreconditionFailed", "FileAlreadyExists", "ObjectAlreadyExists"}),
        frozenset({412}),
        "{key} exists already in {place}",
    ),
    _Rule(
        NotImplementedThere,
        frozenset({"NotImplemented"}),
        frozenset({501}),
        "{where}: the store does not know this request ({said})",
    ),
    _Rule(
        ObjectDamaged,
        frozenset({"InvalidRange"}),
        frozenset({416}),
        "{where} ends before the range that was asked for",
        "The object is shorter than the index says; run verify to see what else is damaged.",
    ),
    _Rule(
        StoreDenied,
        frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"}),
        frozenset({301, 307}),
        "{where} is refused: {said}",
        "Set region of the repository to the bucket's own region.",
    ),
    _Rule(ObjectMissing, frozenset({"NoSuchKey"}), frozenset({404}), "{key} is not in {place}"),
)

_HINTS = {
    "InvalidAccessKeyId": "The server does not know this access key; was it made for another endpoint?",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key.",
    "ExpiredToken": "The session's credentials have expired; sign in again.",
    "RequestTimeTooSkewed": "The clock of this machine is wrong.",
    "SecondLevelDomainForbidden": "This store wants virtual-hosted addressing; use an oss:// URL for it.",
}
_DENIED_HINT = "The credentials need put, get, list and delete on this bucket and prefix."

_NO_CREDENTIALS = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.TokenRetrievalError,
    botocore.UnauthorizedSSOTokenError,
    botocore.ProfileNotFound,
)
_NO_ANSWER = (
    botocore.HTTPClientError,
    botocore.ConnectionError,
    botocore.IncompleteReadError,
    ResponseParserError,
)


@contextmanager
def mapped_to_store(key: str, place: str) -> Generator[None]:
    """Map botocore's errors to ours; ``key`` is what was asked for, ``place`` where."""
    try:
        yield
    except botocore.ClientError as error:
        raise _answered(error.response, key, place) from error
    except botocore.FlexibleChecksumError as error:
        raise ObjectDamaged(
            f"{key} in {place} is not what its checksum says: {error}",
            hint="Run verify to see what else is damaged; with versioning an older version may be whole.",
        ) from error
    except _NO_CREDENTIALS as error:
        raise StoreDenied(
            f"no credentials for {place}: {error}",
            hint="Set access_key and secret_key of the repository, or AWS's own variables, profile or role.",
        ) from error
    except _NO_ANSWER as error:
        # botocore wraps whatever is raised while it waits, also what a signal raises there.
        if isinstance(error.__context__, Cancelled):
            raise error.__context__ from None
        raise _unanswered(error, key, place) from error
    except botocore.BotoCoreError as error:
        raise StoreDenied(f"{place} cannot be asked for {key}: {error}") from error


def _answered(response: Mapping[str, Any], key: str, place: str) -> ToolError:
    """The error that a server's answer stands for."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"{status} {code}".strip()
    text = str(response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    if text and text != code:
        said = f"{said}, {text[:200]}"
    facts = {"key": key, "place": place, "said": said, "where": f"{key or 'the list'} in {place}"}
    for rule in _RULES:
        if code in rule.codes or status in rule.statuses:
            return rule.error(rule.message.format(**facts), hint=rule.hint)
    return StoreDenied("{where} is refused: {said}".format(**facts), hint=_HINTS.get(code, _DENIED_HINT))


def _unanswered(error: Exception, key: str, place: str) -> ToolError:
    """The error for a connection that could not be made, stalled, or was cut."""
    if isinstance(error, botocore.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StoreDenied(
            f"the certificate of {place} cannot be trusted",
            hint="Put the issuing CA into the file that AWS_CA_BUNDLE names.",
        )
    return StoreUnreachable(
        f"{key or 'the list'} in {place}: {error}", hint="Check endpoint, network and proxy."
    )
