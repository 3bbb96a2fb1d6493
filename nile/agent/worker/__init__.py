"""What copies files on the hosts of a run: a program of its own, under the agent, where a command would be.

It runs on Python 3.6 to 3.14 with nothing but the standard library, and is
shipped as source, like the agent; the root has one too, beside itself. The
root tells each worker what to do and hears what came of it; what is copied
goes from worker to worker.

    loop        descriptors, children and times: what it waits for
    patterns    which files are left out, as rsync has it         pure
    manifest    what is in a tree, and how two of them differ
    target      the directory that is written to: whether it may be, and by whom
    meeting     how two workers find each other, and are sure of it
    rsync       which rsync there is, and how it is called
    pushing     from a worker to another by rsync: the sender's side
    receiving   and the receiver's
"""
