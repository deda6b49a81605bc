"""Where bytes lie. A store keeps objects under keys, knows nothing of backups, and looks the same wherever it
is.

``interface``   what a store must do and what that means; ``tests/contract`` holds every store to it
``memory``, ``filesystem``, ``s3``, ``oss``   the stores; each tries once and says plainly what went wrong
``retrying``, ``throttled``, ``counting``     wrappers with the same interface
``opening``     from the config to ``Retrying(Throttled(Counting(store)))``

A foreign error, of the operating system or of botocore, is mapped once, in ``filesystem_errors`` and
``s3_errors``; nobody above names it. Only ``repository`` and those who open a repository import this package,
and it imports no other part of ``repository``.
"""
