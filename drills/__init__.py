"""Proof that recovery works: the room for restore and failover drills. Nothing lives here yet."""
