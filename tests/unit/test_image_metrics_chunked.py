"""Chunked precision and recall: equal to the unchunked ones at any chunk, and the memory it promises."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from guidelab.metrics import chunked
from guidelab.metrics.chunked import kth_radius2_chunked, precision_recall_chunked
from guidelab.metrics.manifold import manifold
from guidelab.metrics.neighbours import squared_distances


@pytest.mark.parametrize("chunk", [7, 50, 64, 1000])
@pytest.mark.parametrize(("n", "m", "features"), [(120, 90, 30), (60, 200, 12)])
def test_equals_the_unchunked_metrics(chunk, n, m, features, monkeypatch):
    monkeypatch.setattr(chunked, "SCREENED", 33)
    generator = torch.Generator().manual_seed(n)
    fake = 100 + 0.8 * torch.randn(n, features, generator=generator)
    real = 100 + torch.randn(
        m, features, generator=generator
    )  # the offset costs float32 products their digits
    whole = manifold(generated=fake, reference=real, k=3)
    parts = precision_recall_chunked(generated=fake, reference=real, k=3, chunk=chunk)
    assert (parts.precision, parts.recall) == (whole.precision, whole.recall)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("chunk", [4, 19, 200])
def test_radii_are_brute_force_with_duplicates_and_clusters(k, chunk):
    rng = np.random.default_rng(k)
    points = np.concatenate([
        rng.integers(0, 3, (40, 12)).astype(np.float64),  # ties everywhere
        np.repeat(rng.standard_normal((3, 12)), 6, axis=0),  # duplicates
        1e3 + 1e-4 * rng.standard_normal((30, 12)),  # more inside the screen's rounding than it keeps candidates
        1e6 * rng.standard_normal((2, 12)),
    ])  # fmt: skip
    points = points[rng.permutation(len(points))]
    distances = squared_distances(points, points)
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, k - 1]
    np.testing.assert_allclose(
        kth_radius2_chunked(torch.from_numpy(points), k, chunk).numpy(), expected, rtol=1e-13
    )


def test_points_on_the_boundary_count_as_inside():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 2, (60, 10)).astype(np.float32)
    fake = np.concatenate([real[:30], rng.integers(0, 2, (40, 10))]).astype(np.float32)
    whole = manifold(generated=fake, reference=real, k=3)
    parts = precision_recall_chunked(generated=fake, reference=real, k=3, chunk=16)
    assert parts.precision == whole.precision and parts.recall.value == whole.recall.value


def test_sides_and_refusals():
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(200, 9, generator=generator)
    collapsed = 0.02 * torch.randn(150, 9, generator=generator)
    values = precision_recall_chunked(generated=collapsed, reference=real, chunk=64)
    assert values.precision.value > 0.9 and values.recall.value < 0.1
    with pytest.raises(ValueError, match=r"generated of shape \(150, 8\), wanted \[N, 9\]"):
        precision_recall_chunked(generated=collapsed[:, :8], reference=real)
    with pytest.raises(ValueError, match="more than k = 3"):
        precision_recall_chunked(generated=collapsed[:3], reference=real)
    with pytest.raises(ValueError, match="reference holds values that are not finite"):
        precision_recall_chunked(generated=collapsed, reference=real / 0)


@pytest.mark.slow
def test_peak_memory_is_the_sets_and_a_few_chunks():
    """10,000 x 50,000 x 2,048 in 2 GB means: beyond the sets given (0.5 GB), at most 1.2 GB of chunks of 4,096 rows.

    Here with chunks of 512 rows and 5,000 x 10,000 x 512: the sets are 31 MB, the same multiple of chunks 19 MB,
    blocks of distances (SCREENED x chunk) 40 MB. A single float64 distance matrix would be 400 MB.
    """
    code = (
        "import resource, torch\n"
        "from guidelab.metrics.chunked import precision_recall_chunked as f\n"
        "g = torch.Generator().manual_seed(0)\n"
        "x, y = torch.randn(5000, 512, generator=g), torch.randn(10000, 512, generator=g)\n"
        "f(generated=x[:600], reference=y[:600], chunk=512)\n"  # libraries and their buffers are loaded
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "f(generated=x, reference=y, chunk=512)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 60e6
