import numpy as np
import pytest
import torch

from advgrad.data.batches import as_float, augment, epoch_batches, to_device
from advgrad.draws import generator


@pytest.fixture
def pack() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (12, 6, 8, 3), np.uint8), random.integers(0, 10, 12, np.uint8)


def test_to_device(pack: tuple[np.ndarray, np.ndarray]):
    images, labels = to_device(*pack, "cpu")
    assert images.shape == (12, 3, 6, 8)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert (images.permute(0, 2, 3, 1).numpy() == pack[0]).all()
    assert (labels.numpy() == pack[1]).all()


def test_as_float_is_exact(pack: tuple[np.ndarray, np.ndarray]):
    x = as_float(to_device(*pack, "cpu")[0])
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x.permute(0, 2, 3, 1).numpy() == pack[0].astype(np.float32) / np.float32(255)).all()
    assert torch.equal(as_float(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([0.0, 1.0]))


def test_epoch_batches():
    first = list(epoch_batches(10, 4, seed=3, epoch=0))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert torch.equal(torch.cat(first), torch.cat(list(epoch_batches(10, 4, seed=3, epoch=0))))
    assert torch.equal(torch.cat(first), torch.cat(list(epoch_batches(10, 7, seed=3, epoch=0))))
    others = [
        torch.cat(list(epoch_batches(10, 4, seed, epoch))) for seed, epoch in ((3, 1), (4, 0), (0, 3), (2**62, 0))
    ]
    assert all(not torch.equal(torch.cat(first), other) for other in others)


def test_generators_are_keyed():
    def draw(*key: int) -> float:
        return torch.rand(1, generator=generator(*key)).item()

    assert draw(1, 2) == draw(1, 2)
    assert len({draw(1, 2), draw(2, 1), draw(1), draw(1, 0), draw(1, 2, 1), draw(2**63 - 1)}) == 6


def naive(images: torch.Tensor, kind: str, generator: torch.Generator) -> torch.Tensor:
    n, channels, height, width = images.shape
    shifts = torch.randint(0, 9, (n, 2), generator=generator)
    coins = torch.randint(0, 2, (n, 1), generator=generator) if kind == "crop-flip" else torch.zeros(n, 1)
    out = torch.zeros_like(images)
    for i in range(n):
        padded = torch.zeros(channels, height + 8, width + 8, dtype=images.dtype)
        padded[:, 4:-4, 4:-4] = images[i]
        down, right = shifts[i].tolist()
        cut = padded[:, down : down + height, right : right + width]
        out[i] = cut.flip(2) if coins[i, 0] else cut
    return out


@pytest.mark.parametrize("kind", ["crop", "crop-flip"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(40, 32, 32, 3), (40, 6, 9, 1)])
def test_augment_is_the_loop(kind, dtype, shape):
    pixels = np.random.default_rng(1).integers(1, 256, shape, np.uint8)
    images = to_device(pixels, np.zeros(len(pixels), np.uint8), "cpu")[0].to(dtype)
    fast = augment(images, kind, generator(0))
    assert torch.equal(fast, naive(images, kind, generator(0)))
    assert fast.dtype == dtype
    assert fast.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(fast, augment(images, kind, generator(1)))


def test_augment_kinds(pack: tuple[np.ndarray, np.ndarray]):
    images = to_device(*pack, "cpu")[0]
    assert augment(images, "none", generator(0)) is images
    assert augment(images[:0], "crop-flip", generator(0)).shape == (0, 3, 6, 8)
    with pytest.raises(ValueError, match="no augmentation 'rotate'"):
        augment(images, "rotate", generator(0))
