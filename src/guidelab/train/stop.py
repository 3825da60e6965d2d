"""The exception of a planned stop. This module imports nothing, so that the command line can load it cheaply."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """A training stopped on request, saved its state and can be resumed; the process should exit with 75."""
