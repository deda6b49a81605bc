"""Where backups are kept, and the keys that open them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fleet.nearest import or_nearest
from fleet.policy import MIB
from fleet.secrets import Secret
from fleet.section import FilePath, Name, Section, mistake

SCHEMES = ("file", "s3", "oss")
_ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?/?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


class StoreConfig(Section):
    """A place for objects: one URL, and what its store needs to know."""

    url: str = Field(
        description="`file:///absolute/path`, `s3://bucket/prefix` or `oss://bucket/prefix`; no credentials."
    )
    endpoint: str | None = Field(
        default=None,
        description="Address of the store, `https://host[:port]`; default: that of AWS or of the OSS region.",
    )
    region: str | None = Field(
        default=None, min_length=1, description="Region of the bucket, such as eu-central-1."
    )
    access_key: Secret | None = Field(
        default=None,
        description="Access key id; default: what the SDK finds (environment, profile, instance role).",
    )
    secret_key: Secret | None = Field(
        default=None, description="Secret access key; given together with `access_key`."
    )
    checksum: Literal["sha256", "md5"] = Field(
        default="sha256",
        description="Checksum that the store verifies on upload; md5 for stores that know no other.",
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Bucket in the path or in the host name of requests; `auto` leaves it to the store.",
    )
    lock_days: Annotated[float, Field(strict=True, gt=0, le=36500, allow_inf_nan=False)] | None = Field(
        default=None,
        description="So long nobody can delete what is stored (S3 Object Lock); default: it is not locked.",
    )
    lock_mode: Literal["compliance", "governance"] = Field(
        default="compliance",
        description="Who can end a lock early: nobody, or who has s3:BypassGovernanceRetention.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        if wrong := _wrong_with_url(url):
            raise mistake(wrong)
        return url

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        if "@" in endpoint:
            raise mistake("holds credentials; they belong into access_key and secret_key")
        if not _ADDRESS.fullmatch(endpoint):
            raise mistake(f"{endpoint!r} is not https://host[:port]; bucket and prefix belong into url")
        return endpoint.rstrip("/")

    @model_validator(mode="after")
    def _fits_together(self) -> StoreConfig:
        if (self.access_key is None) != (self.secret_key is None):
            raise mistake("needs access_key and secret_key together, or neither")
        wrong: list[str] = []
        if self.scheme == "file":
            remote_only = ("endpoint", "region", "access_key", "addressing")
            fields = type(self).model_fields
            # What `config show` prints, defaults included, must be a config again.
            given = [name for name in remote_only if getattr(self, name) != fields[name].default]
            wrong += [f"has {name}, which means nothing to a file:// repository" for name in given]
        if self.lock_days is not None and self.scheme != "s3":
            wrong.append(f"has lock_days, but what is at {self.scheme}:// cannot be locked; leave it out")
        if wrong:
            raise mistake("; ".join(wrong))
        if self.scheme == "oss":
            if self.addressing == "path":
                raise mistake('has addressing = "path", but OSS takes virtual-hosted requests only')
            if self.endpoint is None and self.region is None:
                raise mistake("needs endpoint or region, so that OSS can be found")
        return self

    @property
    def scheme(self) -> str:
        """``file``, ``s3`` or ``oss``."""
        return self.url.partition("://")[0]

    @property
    def path(self) -> Path:
        """The directory of a ``file://`` URL."""
        return Path(self.url.removeprefix("file://"))

    @property
    def bucket(self) -> str:
        """The bucket of a remote store."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def prefix(self) -> str:
        """What all object names begin with in the bucket, without slashes at its ends; may be empty."""
        return self.url.partition("://")[2].partition("/")[2].strip("/")

    def overlaps(self, other: StoreConfig) -> bool:
        """Is one of the two places the other, or inside of it? As far as the settings tell."""
        return self.lies_in(other) or other.lies_in(self)

    def lies_in(self, other: StoreConfig) -> bool:
        """Is this place the other one, or inside of it? As far as the settings tell."""
        if self.scheme != other.scheme:
            return False
        if self.scheme == "file":
            ours, theirs = (Path(os.path.normpath(each.path)) for each in (self, other))
            return ours.is_relative_to(theirs)
        # A name is one bucket in all regions: only another endpoint can have another bucket of that name.
        if (self.bucket, self.endpoint or "") != (other.bucket, other.endpoint or ""):
            return False
        ours, theirs = f"{self.prefix}/".lstrip("/"), f"{other.prefix}/".lstrip("/")
        return ours.startswith(theirs)


class RepositoryConfig(StoreConfig):
    """The repository: its place, and how backups are stored there."""

    pack_size_bytes: Annotated[int, Field(strict=True, ge=MIB, le=1024 * MIB)] = Field(
        default=16 * MIB, description="Size of stored objects; each thread holds one in memory."
    )
    compression_level: Annotated[int, Field(strict=True, ge=1, le=19)] = Field(
        default=1, description="Level of zstd. Higher levels cost much time and save little on InnoDB pages."
    )
    throttle_bytes_per_second: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        default=None, description="Most bytes a second to and from the store; default: no limit."
    )


def _wrong_with_url(url: str) -> str | None:
    """What is wrong with a repository URL, or None."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "is no URL; it begins with file://, s3:// or oss://"
    if scheme not in SCHEMES:
        return f"has the unknown scheme {scheme!r}{or_nearest(scheme, SCHEMES)}"
    return _wrong_with_path(rest) if scheme == "file" else _wrong_with_bucket(rest)


def _wrong_with_path(path: str) -> str | None:
    if not path.startswith("/"):
        return "is not absolute; write file:/// and then the path"
    return "has a '..' in its path" if ".." in path.split("/") else None


def _wrong_with_bucket(rest: str) -> str | None:
    if "@" in rest:
        return "holds credentials; they belong into access_key and secret_key"
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        return f"names the bucket {bucket!r}; a bucket has 3 to 63 small letters, digits, dots and dashes"
    prefix = prefix.strip("/")
    if prefix and (not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/")):
        return f"has the prefix {prefix!r}; a prefix is made of letters, digits, '.', '_', '-' and single '/'"
    return None


_NEEDED_BY = {
    "file": ("file",),
    "passphrase": ("passphrase",),
    "aws-kms": ("kms_key",),
    "x25519": ("public_key", "private_key"),
}
_KEY_PLACES = tuple(name for names in _NEEDED_BY.values() for name in names)


class KeyConfig(Section):
    """A key-encryption key. The first one wraps new backups; the others only open old ones."""

    id: Name = Field(description="Name of the key, stored in clear with every backup it opens; never reused.")
    provider: Literal["file", "passphrase", "aws-kms", "x25519"] = Field(description="Where the key is.")
    file: FilePath | None = Field(
        default=None,
        description="File with the key: 32 bytes, or their 64 hex digits or base64; mode 0600.",
    )
    passphrase: Secret | None = Field(default=None, description="Passphrase that the key is derived from.")
    kms_key: str | None = Field(
        default=None, min_length=1, description="Id, ARN or alias of the key in AWS KMS."
    )
    public_key: FilePath | None = Field(
        default=None,
        description="PEM file with the public half of an x25519 key: alone, it can back up and read nothing.",
    )
    private_key: FilePath | None = Field(
        default=None, description="PEM file with the private half of an x25519 key; mode 0600."
    )

    @model_validator(mode="after")
    def _has_what_its_provider_needs(self) -> KeyConfig:
        needed = _NEEDED_BY[self.provider]
        given = [name for name in _KEY_PLACES if getattr(self, name) is not None]
        if not set(given) & set(needed):
            raise mistake(f"has provider {self.provider!r} and needs {' or '.join(needed)}")
        if useless := [name for name in given if name not in needed]:
            raise mistake(f"has provider {self.provider!r}, which has no use for {useless[0]}")
        return self
