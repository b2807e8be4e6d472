"""AutoAttack, standard version, L-infinity (Croce and Hein 2020), with the members of pyautoattack 0.2.

The members run one after the other, each on the images that none before it has broken: APGD on cross-entropy; APGD on
the targeted DLR loss and targeted FAB, on up to nine classes in the order of their logits; Square. As in peers.py a
member's images are clipped to the ball and to [0,1] and classified anew. FAB looks for the nearest adversarial image,
without a ball: an image beyond the ball, which the library drops, may count here after clipping.

APGD's starts have the library's distribution, but are drawn for each image, from (seed, member, target, number of the
image). Square draws as in peers.py; FAB does not draw. So an outcome depends neither on other images nor on `batch`,
except for the last bits of the arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advgrad.attacks.losses import is_right
from advgrad.attacks.passes import Passes
from advgrad.attacks.peers import Attack, Counted, _apgd, _library, _quietly, _square, within
from advgrad.attacks.target import answered, check_images
from advgrad.config import AutoAttack
from advgrad.config.training import Member
from advgrad.draws import keyed_seed
from advgrad.errors import InputError

TARGETS = 9  # classes at most that a targeted member aims at
DLR_CLASSES = 4  # that the targeted DLR loss compares


def correct_after(
    model: nn.Module, x: Tensor, y: Tensor, settings: AutoAttack, *, seed: int, index: np.ndarray, batch: int,
    passes: Passes | None = None,
) -> Tensor:  # fmt: skip
    """(k,) bool on the CPU: which images are classified correctly, before the attack and after all its members.

    model: whole network on [0,1] pixels with frozen weights, in evaluation mode. x (k,C,H,W) float32 in [0,1] and
    y (k,) int64, on its device. index (k,): their numbers in the test set. batch: images at once. passes: counted, with
    those of the classification. An image with logits that are not finite is not attacked.
    torch's generators are as before afterwards. InputError: the library is not installed, or the network has too few
    classes for the members.
    """
    shell, x = Counted(model, Passes() if passes is None else passes), x.contiguous()  # the library takes views of x
    correct, standing, classes = _clean(shell, x, y, batch)
    if settings.eps == 0:
        return correct
    attacks = [attack for member in settings.members for attack in _runs(member, settings, classes, seed)]
    for attack in attacks:
        for part in torch.nonzero(standing)[:, 0].split(batch):
            if len(part) == 0:
                return correct
            x_adv = attack(shell, x[part], y[part], index[part.numpy()])
            with torch.no_grad():
                correct[part] = is_right(shell(within(x_adv, x[part], settings.eps / 255)), y[part]).cpu()
        standing &= correct
    return correct


@torch.no_grad()
def _clean(shell: Counted, x: Tensor, y: Tensor, batch: int) -> tuple[Tensor, Tensor, int]:
    """(k,) bool classified correctly, (k,) bool to be attacked, and the number of classes."""
    check_images(x)
    logits = torch.cat([answered(shell, part, y) for part in x.split(batch)]).cpu()
    correct = is_right(logits, y.cpu())
    return correct, correct & logits.isfinite().all(1), logits.shape[1]


def _runs(member: Member, settings: AutoAttack, classes: int, seed: int) -> list[Attack]:
    """The runs of a member: one, or one for each target."""
    library, eps, member_seed = _library("pyautoattack", "autoattack"), settings.eps / 255, keyed_seed(seed, member)
    ranks = range(2, min(TARGETS, classes - 1) + 2)  # 2: the class with the second highest logit
    match member:
        case "apgd-ce":
            runs = [_apgd(library, settings.steps, eps, member_seed, 0, "ce")]
        case "apgd-t":
            if classes < DLR_CLASSES:
                raise InputError(f"autoattack: apgd-t needs a network of {DLR_CLASSES} classes or more, not {classes}")
            runs = [_apgd(library, settings.steps, eps, member_seed, rank, rank=rank) for rank in ranks]
        case "fab-t":
            runs = [_fab(library, settings.steps, eps, rank) for rank in ranks]
        case "square":
            runs = [_square(library, settings.queries, eps, member_seed, 0)]
    return [_quietly(run) for run in runs]


def _fab(library: ModuleType, steps: int, eps: float, rank: int) -> Attack:
    """FAB from the image itself towards the class of that rank."""

    def attack(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        run = library.fab_pt.FABAttack_PT(model, norm="Linf", n_iter=steps, eps=eps, targeted=True, device=x.device)
        run.target_class = rank
        with torch.no_grad(), _running_sums(library.fab_base):
            return run.attack_single_run(x, y, is_targeted=True)

    return attack


@contextmanager
def _running_sums(base: Any) -> Iterator[None]:
    """Inside, FAB's projection may add up rows on a GPU.

    torch's deterministic mode forbids cumsum there, which is not reproducible for a single long row. The projection
    has matrices of two rows or more, which go through another kernel.
    """
    projection = base.projection_linf

    def allowed(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
        mode = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("default")
        try:
            return projection(points, normals, offsets)
        finally:
            torch.set_deterministic_debug_mode(mode)

    base.projection_linf = allowed
    try:
        yield
    finally:
        base.projection_linf = projection
