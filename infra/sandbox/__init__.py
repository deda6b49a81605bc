"""A fleet of real MySQL servers and an S3 store on one machine, for trials, tests and the demo.

``fleet`` is the whole: shards, store, ``backstay.toml``; ``scratch`` one lone donor for a test. Below them,
``distribution`` and ``unpacking`` find a MySQL, ``template`` and ``server`` run it, ``objectstore`` is the
store, ``processes`` and ``state`` see to it that nothing stays behind. ``dataset`` fills a server with what
real schemas hold; ``load`` writes to it, and ``ledger`` tells what is there, there by half, or lost.
"""
