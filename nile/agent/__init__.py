"""The program in a node's memory, and the wire format that both ends share.

Everything here runs on Python 3.6 to 3.14 and imports the standard library's
bare modules and itself, nothing else. It is shipped as source text (or as code
already compiled, to a child of the same Python) and never touches a disk.

    wire        values and frames                             pure
    link        one connection: windows, priorities, pings    pure
    core        what a node does with its command             pure
    stopping    how a command is stopped                      pure, late
    anew        what it says when it is attached anew         pure, late
    relay       what a node does for its children             pure, relays only
    child       one of them, as its parent sees it            pure, relays only
    handshake   the first stage, seen from the parent         pure, relays only
    start       from a bundle to modules: the first that runs
    warden      the process above the agent
    command     the command: its streams, what descends from it
    processes   starting and reaping it, as the system has it
    leftovers   its descendants, and what is in its scratch   late
    forked      its start where os.posix_spawn can't          late
    claims      one agent of a run on a host
    orphan      how it is handed from login to login          late
    loop        the one loop that performs what core and relay decide
    logins      what relay decides, done with ssh             relays only
    sshlogin    one login: command line and process           relays only
    signsocket  the ssh-agent that asks the root              relays only
    channel     what may flow of a connection that is carried pure, on demand
    carry       its ends                                      on demand
    reach       channels of a relay's own, to its children    on demand
    minder      what is looked after while a command runs     on demand
    feed        its standard input                            on demand
    outfit      a command that is given more than its line    on demand
    script      a script in place of a line                   on demand
    sandbox     what a command is held in                     on demand
    spaces      its namespaces                                on demand
    landlock    or what it gives up for good                  on demand
    sudowords   how sudo is called, and what it says          pure, on demand
    sudo        a command by sudo, as its agent has it        on demand
    inside      the second warden, which sudo starts          on demand
    leafprogram what a shell runs where there is no Python    pure, on demand
    leafcommand the command there                             pure, on demand
    shellleaf   the link to it, and its agent in one          pure, on demand

What is on demand travels with the first frame that needs it, or with the plan.
What is late, and what is for relays only, travels as source and is compiled
when it is first imported: source takes half the bytes of code, and most hosts
never need it.
"""
