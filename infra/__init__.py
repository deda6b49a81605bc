"""Machines: the sandbox fleet."""
