"""Random numbers that depend on what they are for, never on when or where they are drawn."""

import hashlib


def derive_seed(base: int, purpose: str, *keys: int | str) -> int:
    """Return a 63-bit seed for one ``purpose``, and its ``keys`` such as the epoch, of a run seeded with ``base``."""
    text = "/".join(map(str, (base, purpose, *keys)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
