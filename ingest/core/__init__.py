"""What happens to a request between its bytes and the append. No aiohttp, no redis.

Everything outside is reached through `ports`; adapters implement those.
"""
