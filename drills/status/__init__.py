"""Whether every shard can be recovered: looked at, judged, shown.

``report`` names what there is to know, ``judge`` says what it means, ``observe`` asks for it, ``last_known``
keeps it for the hour in which nobody can be asked.
"""
