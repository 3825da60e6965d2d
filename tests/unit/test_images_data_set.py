"""Image sets check themselves; area averages are exact; folds depend on content alone; PNG bytes are ours."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from guidelab.data.folds import check_split, choose, subset, twelfth
from guidelab.data.image_set import ImageSet
from guidelab.data.png import decode_plain, encode_png
from guidelab.data.resize import area_average
from guidelab.errors import UserError

IMAGES = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 3])


def test_a_set_has_its_size_classes_and_channels():
    made = ImageSet(IMAGES, LABELS, ("a", "b"))
    assert (len(made), made.resolution_px, made.channels, made.classes) == (2, 4, 1, 4)
    assert ImageSet(IMAGES, None, ("a", "b")).classes == 0


@pytest.mark.parametrize(
    ("images", "labels", "names", "said"),
    [
        (IMAGES.float(), LABELS, ("a", "b"), "wanted uint8"),
        (IMAGES[:, 0], LABELS, ("a", "b"), "wanted uint8"),
        (IMAGES[..., :3], LABELS, ("a", "b"), r"wanted uint8 \[N, C, R, R\]"),
        (IMAGES[:0], None, (), "wanted uint8"),
        (IMAGES, LABELS[:1], ("a", "b"), r"labels torch.int64 \(1,\)"),
        (IMAGES, LABELS.int(), ("a", "b"), "labels torch.int32"),
        (IMAGES, LABELS - 1, ("a", "b"), "label -1"),
        (IMAGES, LABELS, ("a",), "1 names"),
        (IMAGES, LABELS, ("a", "a"), "1 different"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(images, labels, names, said):
    with pytest.raises(ValueError, match=said):
        ImageSet(images, labels, names)


def slow_average(image: np.ndarray, size: int) -> np.ndarray:
    """Area average of `[H, W]` in exact fractions, one pixel and one overlap at a time."""

    def shares(length: int, i: int) -> list[Fraction]:
        low, high = Fraction(i * length, size), Fraction((i + 1) * length, size)
        return [max(Fraction(0), min(high, Fraction(j + 1)) - max(low, Fraction(j))) for j in range(length)]

    height, width = image.shape
    out = np.zeros((size, size), np.uint8)
    for y in range(size):
        for x in range(size):
            down, across = shares(height, y), shares(width, x)
            total = sum(
                d * a * int(image[j, k]) for j, d in enumerate(down) if d for k, a in enumerate(across) if a
            )
            mean = total / Fraction(height * width, size * size)
            out[y, x] = int(mean + Fraction(1, 2))  # a half upwards
    return out


@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28), 16), ((7, 7), 3), ((9, 5), 4), ((8, 8), 4), ((5, 5), 1)]
)
def test_area_average_is_exact(shape, size):
    random = np.random.default_rng(size)
    images = random.integers(0, 256, (3, 2, *shape), dtype=np.uint8)
    images[0] = random.choice([0, 255], (2, *shape))
    found = area_average(torch.from_numpy(images), size).numpy()
    for n in range(3):
        for c in range(2):
            assert np.array_equal(found[n, c], slow_average(images[n, c], size))


def test_area_average_rounds_halves_upwards_and_keeps_what_fits():
    tie = torch.tensor([[1, 2], [1, 2]], dtype=torch.uint8)[None, None]  # mean 1.5
    even = torch.tensor([[2, 3], [2, 3]], dtype=torch.uint8)[None, None]  # mean 2.5: to even would give 2
    assert area_average(tie, 1).item() == 2 and area_average(even, 1).item() == 3
    full = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    assert torch.equal(area_average(full, 16), full[..., :16, :16])
    assert area_average(full, 28) is full


def test_area_average_in_parts_is_the_same(monkeypatch):
    images = torch.randint(0, 256, (11, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    whole = area_average(images, 16)
    monkeypatch.setattr("guidelab.data.resize._IMAGES", 4)
    assert torch.equal(area_average(images, 16), whole)


@pytest.mark.parametrize("size", [0, 5])
def test_area_average_does_not_enlarge(size):
    with pytest.raises(ValueError, match="wanted 1 to 4"):
        area_average(IMAGES, size)
    with pytest.raises(ValueError, match="wanted uint8"):
        area_average(IMAGES.float(), 2)


def test_twelfths_are_pinned_and_even():
    assert [twelfth(bytes([i])) for i in range(8)] == [8, 1, 1, 1, 11, 9, 4, 4]
    counts = np.bincount([twelfth(i.to_bytes(4, "big")) for i in range(12000)], minlength=12)
    assert len(counts) == 12 and counts.min() > 900 and counts.max() < 1100


def test_subsets_are_fixed_nested_and_bounded():
    small, large = subset(100, 10, 5, "x"), subset(100, 30, 5, "x")
    assert small == sorted(small) == subset(100, 10, 5, "x") and len(set(small)) == 10
    assert set(small) < set(large) and subset(100, 10, 6, "x") != small
    assert subset(4, None, 0, "x") == subset(4, 4, 9, "x") == [0, 1, 2, 3]
    for n in (0, 101, -1):
        with pytest.raises(UserError, match=f"x: given n = {n}, wanted 1 to 100"):
            subset(100, n, 0, "x")
    with pytest.raises(UserError, match="did you mean 'holdout'"):
        check_split("hold_out", "here")


def test_choose_parts_everything_and_names_what_cannot_be_read():
    names = [f"{i}.png" for i in range(60)]
    sides = [choose("d", names, str.encode, split, None, 0) for split in ("train", "holdout", "test")]
    assert sorted(place for side in sides for place in side) == list(range(60)) and all(
        side == sorted(side) for side in sides
    )
    assert [name for i, name in enumerate(names) if i in sides[0]] == [
        n for n in names if twelfth(n.encode()) < 10
    ]
    with pytest.raises(UserError, match="d: none of its 1 images falls in the split 'test'"):
        choose("d", [names[sides[0][0]]], str.encode, "test", None, 0)

    def broken(name: str) -> bytes:
        raise OSError("disk on fire") if name == "3.png" else KeyError

    with pytest.raises(UserError, match=r"3.png cannot be read \(disk on fire\)"):
        choose("d", names[3:], broken, "train", None, 0)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 5, 7), (1, 300, 300), (3, 1, 1)])
def test_png_is_readable_by_pillow_and_reproducible(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    content = encode_png(image)
    with Image.open(io.BytesIO(content)) as picture:
        picture.verify()
    seen = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(
        seen, image.transpose(1, 2, 0).squeeze(2) if shape[0] == 1 else image.transpose(1, 2, 0)
    )
    assert content == encode_png(image.copy(order="F"))
    fast = decode_plain(content)
    assert np.array_equal(fast, image) if image.size < 60000 else fast is None


def test_only_files_of_ours_take_the_short_way():
    image = np.random.default_rng(2).integers(0, 256, (3, 6, 6), dtype=np.uint8)
    content = encode_png(image)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        assert decode_plain(bytes(changed)) is None
    assert all(decode_plain(content[:end]) is None for end in range(len(content)))
    other = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(other, "PNG")
    assert decode_plain(other.getvalue()) is None
    with pytest.raises(ValueError, match="encode_png: given"):
        encode_png(image[:2])
