"""`backstay serve`: the processes of one machine, started, watched, restarted and ended in order.

``supervisor`` holds no work of its own and imports no scheduler: every part is a process behind a ``leash``,
so any of them may die, and none outlives the service. What the parts are is pure (``parts``); what became of
them is written down for the page (``drills.status.service_state``).
"""
