"""A GTID set that grows: what one replica has, and what it was sent since. Pure, and quick for long runs."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable

from fleet.gtid import GtidSet
from fleet.transaction import Gtid


def origin_key(uuid: str, tag: str) -> bytes:
    """Uuid and tag as a GTID event has them: 16 bytes, then the tag's text."""
    return bytes.fromhex(uuid.replace("-", "")) + tag.encode()


def gtid_key(gtid: Gtid) -> tuple[bytes, int]:
    """What ``GrowingGtids`` takes for this GTID."""
    return origin_key(gtid.uuid, gtid.tag), gtid.number


class GrowingGtids:
    """A union of sets, to which single transactions are added. Keys are of ``origin_key``."""

    def __init__(self, sets: Iterable[GtidSet] = ()) -> None:
        union = GtidSet()
        for one in sets:
            union |= one
        # Two lists an origin, so that a bisection compares plain numbers.
        self._firsts: dict[bytes, list[int]] = {}
        self._lasts: dict[bytes, list[int]] = {}
        for uuid, tag, intervals in union:
            key = origin_key(uuid, tag)
            self._firsts[key] = [interval.first for interval in intervals]
            self._lasts[key] = [interval.last for interval in intervals]

    def holds(self, key: bytes, number: int) -> bool:
        firsts = self._firsts.get(key)
        if firsts is None:
            return False
        at = bisect_right(firsts, number) - 1
        return at >= 0 and number <= self._lasts[key][at]

    def add(self, key: bytes, number: int) -> None:
        """Adding twice is fine."""
        firsts = self._firsts.setdefault(key, [])
        lasts = self._lasts.setdefault(key, [])
        at = bisect_right(firsts, number) - 1
        if at >= 0 and number <= lasts[at]:
            return
        follows = at >= 0 and lasts[at] == number - 1
        leads = at + 1 < len(firsts) and firsts[at + 1] == number + 1
        if follows and leads:
            lasts[at] = lasts.pop(at + 1)
            del firsts[at + 1]
        elif follows:
            lasts[at] = number
        elif leads:
            firsts[at + 1] = number
        else:
            insort(firsts, number)
            insort(lasts, number)
