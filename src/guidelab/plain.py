"""Text from files that others may have written, made safe for a terminal: names of machines, paths, commands."""

import unicodedata


def plain(text: str) -> str:
    """Without control and format characters: no colours, no moved cursor, no line that a record made up."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs"))
