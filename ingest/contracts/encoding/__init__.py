"""The stream's encoding of events: this release's, and the former one's that it still reads.

Every process may import it. It imports the values of `contracts`.
"""
