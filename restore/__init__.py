"""Repository to server: plan, fetch, start a private server, prove.

May import ``wire``, ``repository`` and ``fleet``; never ``backup``.
"""
