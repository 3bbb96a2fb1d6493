"""What copies files on the hosts of a run: a program of its own, under the agent, where a command would be.

It runs on Python 3.6 to 3.14 with nothing but the standard library, and is
shipped as code for hosts of the root's Python and as source for all others;
the root has one too, beside itself. The root tells each worker what to do and
hears what came of it; what is copied goes from worker to worker.

A patch is mostly what a worker costs before it does anything. So what of the
standard library takes long to import (subprocess, tempfile, shutil, hashlib,
ssl) is imported where it is needed, if nothing lighter does.

    begin       from what was shipped to modules: the first that runs
    tuples      with names, made quickly                  pure
    messages    what the root and it say to each other            pure
    service     messages of the root in, answers out
    excuses     why it can't do what it is asked to
    parts       the same for several repositories in one run
    loop        descriptors, children and times: what it waits for
    working     that it gets on with what takes long
    removing    trees that are removed, entry by entry
    patterns    which files are left out, as rsync has it         pure
    expressions  ... in terms of regular expressions              pure
    hashing     digests and proofs                                pure
    manifest    what is in a tree, as one value                   pure
    packing     as it travels                                     pure
    compare     how two of them differ                            pure
    walking     what there is in trees, directory by directory
    scanning    looking at trees
    trees       the source, and copies held against it
    target      the directory that is written to: whether it may be
    lock        one run at a time writes to it
    place       all that while a run has it
    sockets     bare ones
    lookup      the addresses of a name
    meeting     how two workers find each other, and are sure of it
    sealing     and that nobody else reads what they say
    tunnel      or through ssh, where only its port is open
    rsync       which rsync there is, and how it is called
    running     an rsync that runs, and how it ended
    pushing     from a worker to another by rsync: the sender's side
    receiving   and the receiver's
    underway    what both kinds of copies have in common
    copies      those under way at one worker
    naming      how releases are called                           pure
    inuse       which directories processes work in
    durable     files that outlive a loss of power
    releases    those of one destination, and which is current
    delivery    a release that is brought
    releasing   what the root has done with them

For files that come back from hosts:

    fetching    how rsync is called at both ends then         pure
    shelf       the directory at the root that gets them
    limits      how much a host may bring
    gathering   both sides of it

For a stream that is passed down a chain of hosts:

    recording   what would be copied to one host, as a stream
    standstill  whether what was given something to do does nothing
    applying    that stream, at a host that has the same
    ring        the last of what came, and who still needs it     pure
    segments    the words of neighbours                           pure
    streams     where a node's bytes come from
    upstream    the neighbour above
    downstream  the neighbour below, and who takes the bytes here
    holding     when a node is held up, and by whom               pure
    reports     what a node says of itself
    chain       a node of the chain
    archive     a tree as a stream, where there is no rsync       pure
    forking     work that may block, in a process of its own
    attributes  extended attributes and ACLs
    archiving   the source as an archive
    ownership   whose files are to be
    dressing    all that files have beside their content
    restoring   an archive, done to a directory
    unpacking   that, at a host
    taping      a recording at the root, that chains begin with
    streaming   what the root has done with all that

For a swarm:

    bencode     what torrents and trackers speak                  pure
    announcing  what a tracker is asked and answers               pure
    register    whom it knows                                     pure
    tracker     that by HTTP, at the root
    lookups     addresses of many names
    hosting     that of a swarm, whose hosts it knows by name
    equipped    whether a host has libtorrent, as far as can be seen
    signers     whose signatures count on a host
    signatures  whether one of them signed what is delivered
    directories found step by step, where no link is followed
    beside      files of the release before, for a new one
    assembling  what is new, made of an archive and what was downloaded
    merging     that, brought to its place in what is there
    metainfo    files of the source as a torrent
    origins     from whom a peer got what                         pure
    banned      who sent it damaged pieces                        pure
    uplink      what comes to a gateway from outside its rack
    nearby      who isn't outside
    memory      what is in a file that is on no disk
    refusing    addresses with which a peer has nothing to do
    guarding    with whom it has to do of those that it meets
    ports       where a peer may listen
    priorities  which pieces it gets first                        pure
    lacking     what a Python without libtorrent may be brought
    peersettings how that is set                                  pure
    peerprogram libtorrent, in a process of its own
    peering     that process, as the worker has it
    handing     what one host was brought, from it to another
    aria        aria2: its words, and what is said to it          pure
    ariac       that on a host
    ariapeer    a peer that is one, where there is no libtorrent
    landing     where it puts what comes, and how that gets to its place
    checking    whether it was signed
    partaking   a peer that takes part
    taking      that of a host, until all is in its place
    guarded     files that nobody can lead elsewhere
    keeping     that of one that has all already
    swarming    all parts of one worker in swarms
"""
