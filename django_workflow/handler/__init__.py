"""The handler's world: pure asyncio. No Django, no clock, no dice but those handed in."""
