"""The storm: real processes, faults drawn from a seed, and a client that remembers.

    traffic   what is sent: clicks, leads, sales and their repeats
    client    sends it, open loop, and remembers every request and answer
    faults    what is done to whom, and when
    fleet     the processes and the links between them
    judge     what the client remembers against the database
    run       all of it in order

A SIGKILL takes nothing from Valkey here, which writes and syncs its file before it answers
(`appendfsync always`): what a machine loses that loses its power is another question, and
not asked here.
"""
