import pytest
import torch
from test_train_images import pictures

from guidelab.train.image_loader import ImageLoader


def test_every_epoch_shows_every_image_once_and_places_decide_everything() -> None:
    images, labels = pictures()
    loader = ImageLoader(images, labels, 4, 48, -0.4, 1.0)
    shown = torch.cat([loader.indices(iteration, range(48)) for iteration in range(5)])
    for epoch in range(12):
        assert shown[20 * epoch : 20 * epoch + 20].sort().values.tolist() == list(range(20))
    assert not torch.equal(shown[:20], shown[20:40])
    whole = loader.examples(3, range(48))
    for rows in (range(0, 16), range(30, 36), range(40, 48)):
        part = ImageLoader(images, labels, 4, 48, -0.4, 1.0).examples(3, rows)
        for one, two in zip(part, whole, strict=True):
            assert one is not None and two is not None
            assert torch.equal(one, two[rows.start : rows.stop])
    assert len(whole.noise.flatten(1).unique(dim=0)) == 48
    assert float(whole.x0.min()) >= -1 and float(whole.x0.max()) <= 1


def test_images_and_labels_that_do_not_fit_are_refused() -> None:
    images, labels = pictures()
    with pytest.raises(ValueError, match="wanted uint8"):
        ImageLoader(images.float(), labels, 0, 8, 0.0, 1.0)
    with pytest.raises(ValueError, match="one int64 each"):
        ImageLoader(images, labels[:5], 0, 8, 0.0, 1.0)
