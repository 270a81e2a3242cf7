"""The paths that our proxy sends to the console, and those that it answers."""

import re
from pathlib import Path

from scripts.control.routes import own_routes, vendors_routes
from scripts.services.parsers import CONSOLE_PATHS

_ROOT = Path(__file__).parents[3]


def test_the_proxy_sends_to_the_console_what_no_code_may_be() -> None:
    text = (_ROOT / "scripts" / "deploy" / "Caddyfile").read_text()
    [sent] = re.findall(r"@console path (.+)", text)
    paths = {each.removesuffix("/*") for each in sent.split()}

    assert set(CONSOLE_PATHS) == paths
    answered = {each.path for each in (*own_routes(), *vendors_routes())}
    assert set() == {
        path
        for path in answered
        if not any(f"{path}/".startswith(f"{each}/") for each in CONSOLE_PATHS)
    }
