"""Examples of a training: each a function of its position alone, for any number of threads; decoded once where they fit."""

from typing import Any

import pytest
import torch
from torch import Tensor
from training_cases import images_data, latents_data, pictures

from guidelab.errors import UserError
from guidelab.train.ahead import Ahead
from guidelab.train.images import Data
from guidelab.train.loader import Draws, Kept, Loader


def of_images(**changes: Any) -> Loader:
    images, labels = pictures()
    return Loader(images, (1, 8, 8), changes.get("labels", labels), 4, 48, Draws(-0.4, 1.0))


def test_every_epoch_shows_every_image_once_and_places_decide_everything() -> None:
    loader = of_images()
    shown = torch.cat([loader.indices(iteration, range(48)) for iteration in range(5)])
    for epoch in range(12):
        assert shown[20 * epoch : 20 * epoch + 20].sort().values.tolist() == list(range(20))
    assert not torch.equal(shown[:20], shown[20:40])
    whole = loader.examples(3, range(48))
    for rows in (range(0, 16), range(30, 36), range(40, 48)):
        part = of_images().examples(3, rows)
        for one, two in zip(part[:4], whole[:4], strict=True):
            assert one is not None and two is not None
            assert torch.equal(one, two[rows.start : rows.stop])
    assert len(whole.noise.flatten(1).unique(dim=0)) == 48
    assert float(whole.x0.min()) >= -1 and float(whole.x0.max()) <= 1


def test_images_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one label each"):
        of_images(labels=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="0 examples"):
        Loader(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), (1, 8, 8), None, 0, 8, Draws(0.0, 1.0))


def loader(data: Data, workers: Any = None, **draws: Any) -> Loader:
    how = latents if data.encoding else None
    return Loader(data.source, data.shape, data.labels, 7, 40, Draws(-0.4, 1.0, **draws), how)


def latents(raw: Tensor) -> Tensor:
    return 2 * raw + 1


def test_a_place_has_its_own_example() -> None:
    flags: dict[str, Any] = {"label_dropout": 0.5, "null": 9, "flip": True, "steps": 100}
    data = images_data()
    whole = loader(data, **flags).examples(3, range(40))
    late = loader(data, **flags)
    parts = [late.examples(3, range(a, b)) for a, b in ((37, 40), (0, 5), (5, 37))]
    for name in ("x0", "noise", "level", "cond"):
        joined = torch.cat([getattr(parts[i], name) for i in (1, 2, 0)])
        assert torch.equal(joined, getattr(whole, name)), name
    assert whole.cond is not None and 8 < int((whole.cond == 9).sum()) < 32
    assert whole.level.dtype == torch.int64 and int(whole.level.max()) < 100
    index = loader(data).indices(3, range(40))
    clean = pictures()[0][index].float() / 127.5 - 1
    flipped = (whole.x0 == clean.flip(3)).all((1, 2, 3))
    assert ((whole.x0 == clean).all((1, 2, 3)) | flipped).all() and 8 < int(flipped.sum()) < 32
    assert not torch.equal(whole.noise, late.examples(4, range(40)).noise)


def test_label_dropout_drops_its_share_and_never_the_rest() -> None:
    held = loader(images_data(), label_dropout=0.1, null=9)
    shown = [held.examples(iteration, range(40)).cond for iteration in range(10)]
    dropped = sum(int((cond == 9).sum()) for cond in shown if cond is not None)
    assert 15 < dropped < 75  # of 400, wanted 40


def test_latents_are_mirrored_like_images() -> None:
    plain, flipped = (loader(latents_data(), flip=flip).examples(2, range(40)).x0 for flip in (False, True))
    same_as = [(flipped == plain.flip(3)).all((1, 2, 3)), (flipped == plain).all((1, 2, 3))]
    assert (same_as[0] | same_as[1]).all() and 8 < int(same_as[0].sum()) < 32


def test_latents_are_drawn_anew_and_standardised() -> None:
    data = latents_data()
    found = loader(data)
    first, second = found.examples(0, range(20)), found.examples(1, range(20))  # one epoch, half of the next
    index = found.indices(0, range(20))
    mean, std = (part[index] for part in data.source[torch.arange(20)].chunk(2, dim=1))
    z = ((first.x0 - 1) / 2 - mean) / std
    assert abs(float(z.mean())) < 0.1 and 0.9 < float(z.std()) < 1.1
    same_image = (index[:, None] == found.indices(1, range(20))[None]).nonzero()
    i, j = same_image[0].tolist()
    assert not torch.equal(first.x0[i], second.x0[j])
    assert float((first.x0 * first.noise).mean().abs()) < 1  # not the noise that is added to them


def test_augmentation_belongs_to_the_place() -> None:
    whole = loader(images_data(), augment=True).examples(0, range(40))
    part = loader(images_data(), augment=True).examples(0, range(30, 40))
    assert whole.augment is not None and part.augment is not None and whole.augment.shape == (40, 9)
    assert torch.equal(whole.augment[30:], part.augment)
    torch.testing.assert_close(whole.x0[30:], part.x0)


def test_images_that_fit_are_decoded_once() -> None:
    read: list[int] = []

    class Counted:
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: Tensor) -> Tensor:
            read.extend(index.tolist())
            return pictures()[0][index]

    kept = Kept(Counted(), (1, 8, 8))
    for index in (torch.tensor([3, 3, 5]), torch.tensor([5, 0])):
        assert torch.equal(kept[index], pictures()[0][index])
    assert sorted(read) == [0, 3, 5]


def test_what_is_made_ahead_comes_in_order_and_errors_come_out() -> None:
    def make(place: int) -> int:
        if place == 9:
            raise UserError("nine")
        return place * place

    ahead = Ahead(make, lambda place: place + 1, 3)
    assert [ahead(place) for place in (0, 1, 2, 7, 8, 3)] == [0, 1, 4, 49, 64, 9]
    with pytest.raises(UserError, match="nine"):
        ahead(9)
    ahead.close()
