"""A whole cluster in memory, in virtual time: the real cascade, relays and agents over simulated hosts.

    clock       virtual time
    network     which way packets get through
    pipes       connections: latency, rate, bounded buffers
    hosts       hosts: how a login to them goes, what runs there
    commands    commands: scripts of steps
    dialing     logins, up to the first stage
    agent       performs what nile.agent.core decides, as nile.agent.loop does on a host
    branches    performs what nile.agent.relay decides, the root's and every relay's
    root        performs what nile.cascade decides, as nile.controller does
    cluster     all of them together: one run
    cores       processors that all hosts share, as in a lab
    faults      what may befall them
    forecast    what a run is going to take, and what comes of it when hosts die

One thread, no waiting, nothing but what the seed says: the same seed replays exactly.
"""
