"""Proof that recovery works: how the fleet stands (``status``), and restores made to prove it (``proof``).

May import every room but ``flows`` and ``cli``.
"""
