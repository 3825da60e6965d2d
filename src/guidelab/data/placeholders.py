"""Recognise placeholders for a file: Git LFS and git-annex pointers, web pages, empty files."""

from pathlib import Path

_HEAD = 1024  # bytes that identify a placeholder
_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = (b"/annex/objects/", b"../.git/annex/", b".git/annex/")
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def placeholder(content: bytes) -> str:
    """Message for a placeholder: what the file is and what to do; empty for any other file.

    Args:
        content: the file, or its first kilobyte.
    """
    head = content[:_HEAD]
    if not head:
        return "is empty; copy it again"
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`"
    if head.startswith(_ANNEX):
        return "is a git-annex pointer, not the file itself; fetch the file with `git annex get`"
    if head.lstrip().lower().startswith(_PAGES):
        return "is a web page, not the file itself; download the file again, signed in where its publisher wants it"
    return ""


def placeholder_file(path: Path) -> str:
    """As `placeholder`, of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return placeholder(file.read(_HEAD))
    except OSError:
        return ""
