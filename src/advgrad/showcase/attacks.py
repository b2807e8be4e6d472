"""The attacks themselves: final images, not only outcomes."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advgrad.attacks.loop import perturb
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import first_beta, source
from advgrad.attacks.target import Target, frozen, pixel_target, pixels, place
from advgrad.config import AttackEntry, Gradient, Run
from advgrad.data.batches import to_device
from advgrad.data.pack import read_split
from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.models import registry, weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Attacked:
    """The first n test images under one gradient of the attack."""

    gradient: Gradient | None  # None: no attack
    images: np.ndarray  # (n,C,H,W) float32 in [0,1]
    labels: np.ndarray  # (n,)
    guesses: np.ndarray  # (n,) what the network takes them for

    @property
    def correct(self) -> np.ndarray:
        return self.guesses == self.labels


def attacked(
    run: Run, saved: bytes, pack: Path, n: int, attack: str, *, device: torch.device | str = "cpu"
) -> Iterator[Attacked]:
    """First the clean images, then those of each gradient of run.evaluation.attacks[attack], its first restart.

    saved: weights as safetensors; pack: the data set's file. InputError: the data set has no n test images, or the
    weights are another network's.
    """
    images, labels = to_device(*read_split(pack, "test"), torch.device(device))
    if not 0 < n <= len(images):
        raise InputError(f"--images: must be 1 to {len(images)}, not {n}")
    model = registry.build(run.network, run.dataset)
    with tempfile.TemporaryDirectory(prefix="advgrad-") as folder:
        file = Path(folder) / "weights.safetensors"
        write_bytes(file, saved)
        weights.load_weights(file, model)
    model.to(device)
    with frozen(model):
        first = pixel_target(model, images, labels.long(), torch.arange(n), seed=run.seed, batch=run.evaluation.batch)
        yield _judged(model, pixels(first.images), first, None)
        entry = run.evaluation.attacks[attack]
        target = place(model, first, entry.spec)
        for gradient in entry.gradients:
            yield _judged(model, _perturbed(target, run, entry, gradient, images), first, gradient)


def _perturbed(target: Target, run: Run, entry: AttackEntry, gradient: Gradient, images: Tensor) -> Tensor:
    """(n,C,H,W) in [0,1]. images: all test images, of which NJS looks at the first."""
    beta1 = first_beta(target, images, run.evaluation, Passes()) if gradient == "njs" else 1.0
    prepare = source(gradient, entry.spec, run.evaluation, run.network, beta1, rho=entry.rho)
    found = []
    for part in torch.arange(len(target.index)).split(target.batch):
        x, y = target.inputs(part), target.labels[part]
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noise = None if entry.start == "none" else sample_noise(target.seed, target.index[part.numpy()], 0, shape)
        x_adv = perturb(target.model, x, y, entry.spec, space=target.space, prepare=prepare, noise=noise)
        found.append((x_adv - target.space.lo) / target.space.unit)
    return torch.cat(found)


def _judged(model: torch.nn.Module, x: Tensor, first: Target, gradient: Gradient | None) -> Attacked:
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in x.split(first.batch)])
    return Attacked(
        gradient=gradient, images=x.cpu().numpy(), labels=first.labels.cpu().numpy(), guesses=guesses.cpu().numpy()
    )
