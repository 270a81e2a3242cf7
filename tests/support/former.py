"""What the former release, commit 8120ea1, wrote into its streams: envelopes of version 1."""

from pathlib import Path

_FILE = Path(__file__).parents[1] / "schema" / "envelopes.v1.ndjson"

#: Twelve events of all kinds, which have every field between them. Two name nothing that is known.
FORMER = tuple(_FILE.read_bytes().splitlines())
