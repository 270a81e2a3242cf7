"""What commands do, without options and output; a console and an API can call it too.

`table` lists the nouns that are declared here; `noun` and `parsers` say what a
declaration consists of.
"""
