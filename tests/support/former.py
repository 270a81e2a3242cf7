"""What the former release, commit 8120ea1, wrote into its streams: envelopes of version 1."""

from pathlib import Path

_FILE = Path(__file__).parents[1] / "samples" / "stream" / "v1.ndjson"

#: Of each kind, with every field somewhere; the last but one and two name nothing known.
FORMER = tuple(_FILE.read_bytes().splitlines())
