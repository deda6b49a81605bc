"""Server to repository: preflight, choice of the donor, the full backup.

May import ``wire``, ``repository`` and ``fleet``; never ``restore``.
"""
