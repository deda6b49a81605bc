"""When it happens: thin doors for Prefect, which nobody else imports. See README.md.

A flow reads the configuration, calls one room, and says how that ended. What is decided is decided in pure
modules (``deployments``, ``lateness``, ``reconciling``); what is carried out goes through ``running``, so
that whatever ends a run ends its work in order.
"""
