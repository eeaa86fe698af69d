"""Names in pictures: what a stranger called a thing, as matplotlib can write it."""

LAST_LETTER = "\u024f"  # of the Latin letters that the font has
LONGEST = 60


def drawn(name: str) -> str:
    """Return a name without formulas, which would be typeset, and with what the font has no sign for escaped."""
    known = "".join(sign if sign.isprintable() and sign <= LAST_LETTER else ascii(sign)[1:-1] for sign in name)
    short = known if len(known) <= LONGEST else f"{known[: LONGEST - 1]}…"
    return short.replace("$", r"\$")
