"""The program in a node's memory, and the wire format that both ends share.

Everything here runs on Python 3.6 to 3.14 and imports the standard library's
bare modules and itself, nothing else. It is shipped as source text (or as code
already compiled, to a child of the same Python) and never touches a disk.

    wire        values and frames                             pure
    link        one connection: windows, priorities, pings    pure
    core        what a node does with its command             pure
    relay       what a node does for its children             pure, relays only
    handshake   the first stage, seen from the parent         pure, relays only
    sshclient   the ssh command line and its failures         pure, relays only
    processes   the command and all its descendants
    loop        the one loop that performs what core and relay decide
    logins      ssh children and the signing socket           relays only
"""
