"""What we protect and what we promise: the nouns that every room shares.

``config`` reads ``backstay.toml`` into a ``model.Fleet``, a tree of frozen sections (``section``), and names
each mistake by its key (``mistakes``). ``secrets`` reads passwords and keys when they are needed. ``gtid`` is
the algebra of GTID sets, ``errors`` has every error with its exit code, ``clock`` is time as an argument.

No network, and no disk but the config file and the secrets it names. Imports no other room.
"""
