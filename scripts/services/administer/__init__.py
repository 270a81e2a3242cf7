"""What operators administer, as declared nouns: the command line is built from them.

`table` lists the nouns of `catalogue` (what is promoted) and `access` (who may do what,
how fast); `noun` and `fields` say what a declaration consists of.
"""
