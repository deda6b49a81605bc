"""A store as it will be when some of its objects are gone: a view to plan in, which deletes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from fleet.errors import ObjectMissing, StoreDenied
from repository.stores.interface import Buffer, LockTerms, ObjectInfo, Page, Properties, Store, Stored


class Hiding:
    """``inner`` without the objects of which ``is_hidden`` says so; nothing can be put or deleted."""

    def __init__(self, inner: Store, is_hidden: Callable[[str], bool]) -> None:
        self._inner = inner
        self._is_hidden = is_hidden

    @property
    def properties(self) -> Properties:
        return self._inner.properties

    @property
    def lock(self) -> LockTerms | None:
        return self._inner.lock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:  # noqa: ARG002 - refused, whatever it is
        raise self._read_only(key)

    def get(self, key: str) -> bytes:
        self._must_show(key)
        return self._inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._must_show(key)
        return self._inner.get_range(key, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in self._inner.list(prefix) if not self._is_hidden(info.key))

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        page = self._inner.list_page(prefix, token)
        return Page((info for info in page.objects if not self._is_hidden(info.key)), page.token)

    def stat(self, key: str) -> ObjectInfo:
        self._must_show(key)
        return self._inner.stat(key)

    def delete(self, key: str) -> None:
        raise self._read_only(key)

    def prolong(self, key: str, until: datetime) -> None:  # noqa: ARG002 - refused, whatever it is
        raise self._read_only(key)

    def locked_until(self, key: str) -> datetime | None:
        self._must_show(key)
        return self._inner.locked_until(key)

    def describe(self) -> str:
        return self._inner.describe()

    def _must_show(self, key: str) -> None:
        if self._is_hidden(key):
            raise ObjectMissing(f"{key} is not in {self.describe()} any more, once what is free is gone")

    def _read_only(self, key: str) -> StoreDenied:
        return StoreDenied(f"{key}: {self.describe()} is looked at as it will be, and cannot be changed")
