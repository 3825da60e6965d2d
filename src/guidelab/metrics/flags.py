"""Flags of a set of samples: collapse, repeats, copies of the reference, fewer samples than features."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from guidelab.metrics.value import NOT_ESTIMABLE, ArrayLike, Value, with_note

COLLAPSED = 1e-3  # total variance of the generated features over the reference's
DIRECTIONS = 64  # features up to which a collapse in one direction is looked for
REPEATED = 0.01  # share of rows that repeat another row, or equal a reference row, from which it is noted
# Rows in one cell of a grid of this size, in units of the reference's spread in a feature, are copies: few that differ by
# rounding lie in two cells. Where reference rows share cells with each other (nearly all of the spread is in few directions), only
# equal bytes are copies
COPY, COPY_MANY, MANY = 1e-5, 1e-3, 16  # up to and above so many features
RANK = ("fid", "sfid", "frechet")  # metrics of a covariance, which needs more samples than features
_CHUNK = 8192  # rows cast to float64 at a time


def flags(generated: ArrayLike, reference: ArrayLike | None = None) -> tuple[str, ...]:
    """Warnings about these samples, one short sentence each; empty if there are none.

    Args:
        generated: features or points [N, F].
        reference: features or points [M, F] of real samples; None where only statistics are known.
    """
    fake = torch.as_tensor(generated).detach().cpu()
    real = None if reference is None else torch.as_tensor(reference).detach().cpu()
    return tuple(_flags(fake, real))


def rank_flag(n: int, features: int) -> str:
    """The note of a Fréchet distance whose generated covariance has no full rank; empty where it can have."""
    return f"{n} samples for {features} features: the covariance is singular" if n <= features else ""


def flagged(values: Mapping[str, Value], notes: tuple[str, ...], rank: str = "") -> dict[str, Value]:
    """The metrics with the notes added; a value or error that overflowed becomes `not estimable`.

    Args:
        values: metric -> value.
        notes: from `flags`: added to every metric.
        rank: from `rank_flag`: added to Fréchet distances.
    """
    result = {}
    for name, value in values.items():
        for note in (*notes, rank if name in RANK else ""):
            value = with_note(value, note) if note else value
        result[name] = _finite(value)
    return result


def _finite(value: Value) -> Value:
    if abs(value.value) == float("inf") and value.estimable:
        return with_note(replace(value, ess=0.0), f"{NOT_ESTIMABLE}: overflow")
    return value


def _flags(fake: torch.Tensor, real: torch.Tensor | None) -> Iterator[str]:
    rows = fake[torch.isfinite(fake).all(dim=1)]
    if len(rows) < 2:
        return
    hashes = _hashes(rows)
    repeats = len(rows) - len(set(hashes))
    if repeats > REPEATED * len(rows):
        yield f"{repeats} of {len(rows)} generated samples repeat another one"
    if real is None:
        return
    wanted = _variance(real)
    cell = (COPY if real.shape[1] <= MANY else COPY_MANY) * math.sqrt(wanted / real.shape[1])
    known = set(_hashes(real, cell))
    if len(real) - len(known) > REPEATED * len(real):
        cell, known = 0.0, set(_hashes(real))
    copies = sum(row in known for row in _hashes(rows, cell))
    if copies > REPEATED * len(rows):
        yield f"{copies} of {len(rows)} generated samples equal one of the reference"
    spread = _variance(rows)
    if spread < COLLAPSED * wanted:
        yield f"collapsed: the samples' variance is {spread / wanted:.1g} of the reference's"
    elif (least := _least(rows, real)) < COLLAPSED:
        yield f"collapsed in one direction: the samples' variance there is {least:.1g} of the reference's"


def _least(rows: torch.Tensor, real: torch.Tensor) -> float:
    """The least variance of rows over the reference's, over all directions; 1 where too few rows or many features hide it."""
    features = rows.shape[1]
    if features > DIRECTIONS or min(len(rows), len(real)) < 10 * features:
        return 1.0
    ours, theirs = (torch.cov(x.to(torch.float64).T).reshape(features, features) for x in (rows, real))
    level = 1e-9 * float(theirs.trace()) / features
    if (
        not 0 < level < math.inf or not ours.trace() < 1e6 * theirs.trace()
    ):  # one huge sample hides the others in rounding
        return 1.0
    floor = level * torch.eye(features, dtype=torch.float64)  # a feature constant in both has not collapsed
    root = torch.linalg.inv(torch.linalg.cholesky(theirs + floor))
    return float(torch.linalg.eigvalsh(root @ (ours + floor) @ root.T)[0])


def _hashes(rows: torch.Tensor, cell: float = 0.0) -> list[bytes]:
    """A short hash of each row: of its bytes, or of the cells of a grid that it lies in."""
    found = []
    for part in torch.split(rows, _CHUNK):
        array = (part.to(torch.float64) / cell).round_().to(torch.int64) if cell > 0 else part.contiguous()
        found += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in array.numpy()]
    return found


def _variance(rows: torch.Tensor) -> float:
    """Total variance over all features, in float64 for any dtype of the rows."""
    parts = torch.split(rows, _CHUNK)
    mean = torch.stack([part.to(torch.float64).sum(0) for part in parts]).sum(0) / len(rows)
    return float(sum((part.to(torch.float64) - mean).square().sum() for part in parts)) / max(
        len(rows) - 1, 1
    )
