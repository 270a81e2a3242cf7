"""The dialects: each speaks one vendor's words. Adding one is a file and a line here.

Dialects are pure: bytes and headers in, values out. Read by `accept` and the composition
root only.
"""

from typing import Final

from ingest.dialects.affitor import AFFITOR
from ingest.dialects.affixo import AFFIXO
from ingest.dialects.bio_re import BIO_RE
from ingest.dialects.bricqs import BRICQS
from ingest.dialects.dub import DUB
from ingest.dialects.refport import REFPORT
from ingest.dialects.spec.routes import Dialect
from ingest.dialects.tracker import TRACKER

DIALECTS: Final[tuple[Dialect, ...]] = (
    AFFITOR,
    AFFIXO,
    REFPORT,
    BIO_RE,
    BRICQS,
    DUB,
    TRACKER,
)
