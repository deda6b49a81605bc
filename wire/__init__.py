"""Every byte and every statement exchanged with a MySQL server.

``session`` logs in (pymysql) and hands the socket over to our own framing (``packet``); ``admin`` holds
one function a statement; ``clone`` speaks the clone protocol, ``binlog`` the replication protocol, both ways
round. Codecs (``packet``, ``clone.messages``, ``binlog.events``) never do I/O. May import ``fleet``; knows
nothing of the repository.
"""
