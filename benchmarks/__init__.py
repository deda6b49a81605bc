"""Backstay beside its peers, on one donor with the same data, from one run.

No part of the product: it imports any room and none imports it. ``README.md`` says how to read the table.
"""
