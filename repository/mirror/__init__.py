"""The mirror: the same objects in a second place (FORMAT.md, section 15)."""
