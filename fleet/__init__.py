"""What we protect and what we promise: the nouns that every room shares.

The fleet and its config (``model``, ``config``), GTID-set algebra (``gtid``), errors with their exit
codes (``errors``). No network, no disk except the config file; imports no other room.
"""
