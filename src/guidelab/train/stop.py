"""The planned stop of a training: what it raises. Imports nothing, so that the command line can name it cheaply."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """A training was asked to stop, saved everything and can be resumed; the process should exit with 75."""
