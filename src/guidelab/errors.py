"""`UserError`, whose message is shown to the user without a traceback; text made safe for a terminal."""

import unicodedata
from os.path import commonprefix
from pathlib import Path

_COMPARED = 200  # names, and characters of a name: comparing takes the square of them


class UserError(Exception):
    """A mistake the user can mend: where, what was given, what was wanted, what to do.

    The command line prints the message alone and exits with 1; every other exception is a bug of guidelab. The message
    holds no control characters, even if it quotes names and contents of files; its line breaks stay.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(plain(line) for line in message.split("\n")))


def closest(given: str, known: list[str] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?` with the nearest known name, or an empty string when none is near."""
    import difflib

    near = difflib.get_close_matches(given[:_COMPARED], likely(given, known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def brief(error: Exception) -> str:
    """What another library says of a file, as one short line: some repeat the file's content."""
    return " ".join((str(error) or type(error).__name__).split())[:200]


def likely(given: str, known: list[str] | tuple[str, ...]) -> list[str]:
    """The names worth comparing with `given`: all of a few; of thousands those that begin alike longest, so that it takes no time."""
    if len(known) <= _COMPARED:
        return list(known)
    alike = {name: len(commonprefix([given, name])) for name in known}  # noqa: RUF071 - characters are meant
    return sorted(known, key=lambda name: -alike[name])[:_COMPARED]


def counted(number: int, thing: str) -> str:
    """`1 job`, `2 jobs`.

    >>> counted(1, "job"), counted(2, "job")
    ('1 job', '2 jobs')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def home_path(path: str | Path, otherwise: Path | None = None) -> Path:
    """A path whose `~` stands for the home folder.

    Args:
        path: as given.
        otherwise: taken where there is no home folder.
    Raises:
        UserError: there is no home folder, and nothing else was given.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if otherwise is not None:
            return otherwise
        raise UserError(
            f"{path}: there is no home folder ({error}); give the whole path, or set HOME"
        ) from error


def plain(text: str) -> str:
    """Untrusted text without control and format characters: no colours, no cursor movement, no forged lines."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs"))
