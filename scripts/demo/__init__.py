"""`reftide demo`: the vendors' examples and traffic at a running instance, checked at its end.

`agents`, `vendors` and `traffic` are values; `sender` speaks HTTP; `links` and `records` ask
the servers; `progress` shows how far it is; `play` knows the order.
"""
