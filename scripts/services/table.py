"""Every declared noun, by name."""

from typing import Final

from scripts.services.administer.access.domains import DOMAINS
from scripts.services.administer.access.keys import KEYS
from scripts.services.administer.access.limits import LIMITS
from scripts.services.administer.access.switches import SWITCHES
from scripts.services.administer.access.workspaces import WORKSPACES
from scripts.services.administer.catalogue.links import LINKS
from scripts.services.administer.catalogue.milestones import MILESTONES
from scripts.services.administer.catalogue.partners import PARTNERS
from scripts.services.administer.catalogue.programs import PROGRAMS
from scripts.services.recover.erasures import ERASURES
from scripts.services.recover.replays import REPLAYS

NOUNS: Final = {
    noun.name: noun
    for noun in (
        *(WORKSPACES, PROGRAMS, PARTNERS, LINKS, MILESTONES),
        *(DOMAINS, KEYS, SWITCHES, LIMITS),
        *(REPLAYS, ERASURES),
    )
}
