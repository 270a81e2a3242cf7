"""What made-up visitors say of themselves and where they come from. Used by `traffic`."""

from typing import Final

FIRST_NAMES: Final = (
    "Aiko", "Amina", "Anna", "Boris", "Carla", "Chen", "Daniel", "Eva", "Farid", "Grace",
    "Hugo", "Ines", "Jonas", "Kofi", "Lea", "Marta", "Nadia", "Omar", "Priya", "Tom",
)  # fmt: skip
LAST_NAMES: Final = (
    "Andersen", "Bauer", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Haddad",
    "Ivanova", "Jensen", "Kim", "Lopez", "Mensah", "Novak", "Okafor", "Patel", "Rossi",
    "Sato", "Taylor", "Wang",
)  # fmt: skip

#: What a browser prefers to read, and the clock on its wall.
LANGUAGES: Final = (
    ("en-US", "America/New_York"),
    ("en-US", "America/Los_Angeles"),
    ("en-GB", "Europe/London"),
    ("de-DE", "Europe/Berlin"),
    ("fr-FR", "Europe/Paris"),
    ("es-MX", "America/Mexico_City"),
    ("pt-BR", "America/Sao_Paulo"),
    ("ja-JP", "Asia/Tokyo"),
    ("ko-KR", "Asia/Seoul"),
    ("zh-TW", "Asia/Taipei"),
    ("en-IN", "Asia/Kolkata"),
    ("en-ZA", "Africa/Johannesburg"),
)

SCREENS: Final = (
    "1920x1080", "1366x768", "2560x1440", "1536x864", "390x844", "412x915", "360x800",
    "820x1180",
)  # fmt: skip

#: Where links are found.
PAGES: Final = (
    "https://www.google.com/",
    "https://www.bing.com/search?q=best+team+software",
    "https://duckduckgo.com/",
    "https://t.co/kQ2mVn7yXb",
    "https://www.reddit.com/r/productivity/comments/1b2c3d4/what_do_you_use/",
    "https://news.ycombinator.com/item?id=40123456",
    "https://www.youtube.com/watch?v=Jk3lQ9xZtuo",
    "https://l.instagram.com/",
    "https://lm.facebook.com/",
    "https://www.linkedin.com/feed/",
    "https://www.pinterest.com/pin/812345678901234567/",
    "https://medium.com/@writer/tools-that-stay-6f0a9c1d2e3b",
    "https://dev.to/writer/my-setup-this-year-4k1a",
    "https://blog.example.com/post",
    "https://reviews.example.org/software/compare?a=1&b=2",
    "https://newsletter.example.net/issues/42",
    "https://podcast.example.com/episodes/117-the-one-about-referrals",
    "https://forum.example.org/t/which-plan-should-i-take/8812",
)
