"""What Reftide is measured beside: the same work by programs as one would write them.

Small and honest: each is what its libraries' manuals show, on their defaults, and keeps what
Reftide keeps of a click (the row with all that is found out of it, the customer, the link's
counters) in one transaction. Where something could be done in more than one way, it is done
in the quicker one.
"""
