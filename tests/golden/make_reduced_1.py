"""Writes ``reduced-1/`` beside this file: ``chain-1/`` as it is when only its newest two backups are kept.

It was run once, when remainders were settled, and refuses to run again: a golden repository is worth
something only as long as nobody writes it anew.

    python tests/golden/make_reduced_1.py
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import repository.repository
from backup.repack import repack
from repository import layout
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore

FOLDER = Path(__file__).with_name("reduced-1")
CHAIN = Path(__file__).with_name("chain-1")


def main() -> None:
    if FOLDER.exists():
        sys.exit(f"{FOLDER} exists; a golden repository is never written anew")
    shutil.copytree(CHAIN, FOLDER)
    (FOLDER / "backup.key").chmod(0o600)
    rescue = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"
    shutil.copyfile(rescue, FOLDER / "repository" / "rescue.py")
    store = FilesystemStore(FOLDER / "repository")
    opened = Repository.open(store, Keyring([FileSource("office-safe", FOLDER / "backup.key")]))
    catalog = Catalog(opened)
    expected = json.loads((FOLDER / "expected.json").read_text("utf-8"))
    full, first, consolidated, second, referring, last = expected
    kept = catalog.manifest("s1", referring)
    gone = catalog.manifest("s1", consolidated)
    store.delete(layout.manifest(gone.backup))
    for prefix in (layout.packs_and_parts(gone.backup), layout.wrapped_keys(gone.backup)):
        for info in list(store.list(prefix)):
            store.delete(info.key)
    for label in (full, first, second):
        repack(opened, catalog.manifest("s1", label), [kept], below=1.01)
    left = {label: expected[label] for label in (referring, last)}
    (FOLDER / "expected.json").write_text(json.dumps(left, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
