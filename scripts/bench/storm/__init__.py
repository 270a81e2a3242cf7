"""The storm: real processes, faults drawn from a seed, and a client that remembers.

    traffic   what is sent: clicks, leads, sales and their repeats
    client    sends it, open loop, and remembers every request and answer
    faults    what is done to whom, and when
    fleet     the processes and the links between them
    append_only  what Valkey loses with the end of its file
    judge     what the client remembers against the database
    report    what is told of it
    run       all of it in order

A SIGKILL takes nothing from Valkey here, which writes and syncs its file before it answers
(`appendfsync always`). Where losses are asked for, the storm takes the end of the file, by
itself or as much as a replica lacks that was cut off: with either the server has all commands
up to a moment, and none after it.
"""
