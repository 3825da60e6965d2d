"""Score errors and gains along sigma: the share of a sampler's score error that guidance, or the grader, removes."""

from collections.abc import Iterator

from torch import Tensor

from guidelab.divergence.noisy import NoisyBatch, denoised, level2, true_scores
from guidelab.divergence.subject import Subject
from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Line, Logits
from guidelab.metrics.divergence_weights import weight
from guidelab.metrics.gain import gain, gain_terms_denoised, score_error_difference, score_error_terms
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.value import Float64

Changes = dict[str, tuple[Tensor, Tensor]]  # name -> denoised before and after, shape of `at.x`


def score_lines(
    subject: Subject, at: NoisyBatch, along: Logits, shift: Tensor, edges: Float64
) -> Iterator[Line]:
    """Score errors of main net and sampler, weights, and the gains of guidance and grader with their targets.

    Where the true score is not known there are no errors and no targets; the grader's gain in each divergence's weight
    stands for its weighted error.

    Args:
        subject: what is graded.
        at: held-out real examples.
        along: the grader's logits, on the data's side at `at`.
        shift: `sigma^2` times their gradient.
        edges: of the noise bins.
    """
    exact, moved = subject.exact, denoised(subject.sampler, at, subject.where)
    main = denoised(subject.main, at, subject.where) if subject.guided or exact else moved
    truth = true_scores(exact.data, at) if exact else None
    error = None
    if truth is not None and exact and not exact.zero:  # of real samples it is rounding, and nothing else
        for name, after in (("main", main), ("sampler", moved)):
            score = (after - at.x) / level2(at)
            error = score_error_terms(sigma=at.sigma, true_score=truth, score=score)
            found = sigma_curve(sigma=at.sigma, contribution=error, edges=edges)
            yield from report.curve_lines(
                f"score_error_{name}",
                "score_error",
                "p",
                found,
                [at.sigma.numpy()],
                kind="truth",
                bound=False,
            )
    yield from report.weights(along, error, edges)
    for name, pair in changes(subject, main, moved, shift).items():
        yield from _gain(name, at, pair, edges)
        if truth is not None:
            yield from _target(name, at, pair, truth, edges)
    if truth is None:
        yield from _weighted(at, (moved, moved + shift), along, edges)


def changes(subject: Subject, main: Tensor, moved: Tensor, shift: Tensor) -> Changes:
    """The score changes whose gains are estimated: guidance, if any, then the grader's correction."""
    guidance: Changes = {"gain_guidance": (main, moved)} if subject.guided else {}
    return guidance | {"gain_grader": (moved, moved + shift)}


def gain_terms(at: NoisyBatch, before: Tensor, after: Tensor) -> Float64:
    """Decrease of the denoising loss in units of the score error, `[N, R]`."""
    clean = at.clean[:, None].expand_as(at.x)
    return gain_terms_denoised(sigma=at.sigma, clean=clean, denoised=before, guided=after)


def _gain(name: str, at: NoisyBatch, pair: tuple[Tensor, Tensor], edges: Float64) -> Iterator[Line]:
    found = gain(sigma=at.sigma, terms=gain_terms(at, *pair), edges=edges)
    drawn = [at.sigma.numpy()]
    yield from report.curve_lines(name, "score_error", "p", found, drawn, kind="estimate", bound=True)


def _target(
    name: str, at: NoisyBatch, pair: tuple[Tensor, Tensor], truth: Tensor, edges: Float64
) -> Iterator[Line]:
    """What a gain estimates: the exact difference of score errors."""
    before, after = pair
    found = score_error_difference(
        sigma=at.sigma,
        true_score=truth,
        score=(before - at.x) / level2(at),
        guidance=(after - before) / level2(at),
        edges=edges,
    )
    drawn = [at.sigma.numpy()]
    yield from report.curve_lines(
        f"{name}_target", "score_error", "p", found, drawn, kind="target", bound=False
    )


def _weighted(at: NoisyBatch, pair: tuple[Tensor, Tensor], along: Logits, edges: Float64) -> Iterator[Line]:
    """The grader's gain in each divergence's weight, which is itself estimated, so that it bounds nothing.

    Read it for where along sigma a divergence would look.
    """
    terms, drawn = gain_terms(at, *pair), [at.sigma.numpy()]
    for name in report.WEIGHED:
        found = gain(sigma=at.sigma, terms=weight(name, "p", along.at_data) * terms, edges=edges)
        yield from report.curve_lines("weighted_gain", name, "p", found, drawn, kind="estimate", bound=False)
