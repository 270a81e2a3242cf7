"""Browsers as Debian has them.

No package drives them, so nothing needs to be installed beside the browsers.
"""

import shutil
from collections.abc import Mapping
from typing import Any

from tests.support.browsers.chromium import chromium
from tests.support.browsers.firefox import firefox
from tests.support.browsers.webkit import webkit

#: By name: what starts a browser on a folder and a proxy, and the programs that it needs.
ENGINES: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "chromium": (chromium, ("chromium",)),
    "firefox": (firefox, ("firefox-esr",)),
    "webkit": (webkit, ("WebKitWebDriver", "Xvfb")),
}


def is_installed(name: str) -> bool:
    return all(map(shutil.which, ENGINES[name][1]))
