"""The checkout beside another commit's, in turns.

`checkout` makes a worktree of the commit with an environment of its own; `plant` and `probe`
run inside either version, on what its command line and its edge promise, so they import
nothing else of it; `measure` takes the figures.
"""
