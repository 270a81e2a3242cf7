"""`reftide demo`: real-looking traffic at a running instance, counted at both ends.

Used by `scripts.commands.develop.demo` alone. `steps`, `traffic` and `tally` are pure; `sending`
speaks HTTP; `stage`, `progress` and `findings` ask the servers; `view` draws; `play` knows
the order.
"""
