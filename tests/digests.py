"""One digest of a whole directory."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest_of(directory: Path) -> str:
    """SHA-256 over names, sizes and content of every file, sorted by name."""
    total = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        total.update(f"{path.relative_to(directory)} {len(content)}\n".encode())
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()
