"""What we keep: the repository format, keys, manifests and the stores that hold the bytes.

A *block* of a file is compressed and sealed into a *frame*; frames lie in *packs*, which are immutable
objects; *index parts* say which frame holds which pages; the *manifest*, put last of all, makes a backup
exist. ``FORMAT.md`` is the law; ``layout`` is the only place where an object key is made or parsed.
May import ``fleet``; knows nothing of MySQL connections.
"""
