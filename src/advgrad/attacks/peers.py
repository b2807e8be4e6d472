"""Attacks of maintained libraries, for comparison: adapters, and the classification of what they return.

pyautoattack 0.2: APGD on the DLR loss (Croce and Hein 2020) and Square (Andriushchenko et al. 2020). foolbox 3.3:
L-infinity DeepFool (Moosavi-Dezfooli et al. 2016) and the Brendel and Bethge attack, BBA (2019). The settings that
attack-bnn leaves open are the libraries' defaults; Square keeps its schedule whatever the number of queries.

A library's own verdict is never used: its images are clipped to the ball and to [0,1] and classified anew. DeepFool and
BBA look for the nearest adversarial image, without a ball: an image beyond it counts if it is still misclassified after
clipping. DeepFool is deterministic; every other attack draws from (seed, attack, restart, number of the image), so an
outcome depends neither on other images nor on `batch`, except for the last bits of the arithmetic.
"""

import logging
import os
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from advgrad.attacks.losses import enough_for_dlr, is_right
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import sample_noise
from advgrad.attacks.target import check_images, check_logits
from advgrad.config import Peer
from advgrad.draws import keyed_seed, seeded
from advgrad.errors import InputError
from advgrad.models.layers import memory_format

Attack = Callable[["Counted", Tensor, Tensor, np.ndarray], Tensor]
# What foolbox raises at an image that it cannot attack, as BBA where no noise is misclassified. pyautoattack has none;
# torch's RuntimeErrors (no memory, no deterministic kernel) are not about an image: they end the run.
FAILURES = (AssertionError, ArithmeticError, ValueError)
MAY_GIVE_UP = ("deepfool", "bba")
_log = logging.getLogger(__name__)


class Counted(nn.Module):
    """The network as the libraries get it; counts forward and backward passes.

    strict: FloatingPointError at logits or gradients that are not finite (numba's solver in BBA would never end).
    """

    def __init__(self, model: nn.Module, passes: Passes, *, strict: bool = False) -> None:
        super().__init__()
        self.model, self.passes, self.strict = model, passes, strict
        self.training = False  # of this module only: foolbox warns otherwise

    def forward(self, x: Tensor) -> Tensor:
        self.passes.add(forward=len(x))
        logits = self.model(x.contiguous(memory_format=memory_format(x.device, "float32")))
        check_logits(logits, x)
        if self.strict:
            _finite(logits)
        if logits.requires_grad:
            logits.register_hook(lambda _: self.passes.add(backward=len(x)))
            if self.strict:
                x.register_hook(_finite)
        return logits


def correct_after(
    model: nn.Module, x: Tensor, y: Tensor, peer: Peer, *, seed: int, index: np.ndarray, restart: int, batch: int,
    progress: Callable[[int], None], passes: Passes, failed: list[int] | None = None,
) -> Tensor:  # fmt: skip
    """(k,) bool on the CPU: which images are still classified correctly after the attack.

    model: whole network on [0,1] pixels with frozen weights, in evaluation mode. x (k,C,H,W) float32 in [0,1] and
    y (k,) int64, on its device: images that are classified correctly. index (k,): their numbers in the test set.
    batch: images at once; BBA takes one at a time, because its trust region grows with the batch. progress: called
    with the number of images just done. passes: counted, with those of the classification; DeepFool's depend on
    `batch`, in which it goes on until the last image is broken. failed: collects the numbers of images at which the
    library gave up; they count as correct. torch's generators are as before afterwards.
    InputError: the library is not installed.
    """
    shell = Counted(model, passes, strict=peer.attack == "bba")
    check_images(x)
    if peer.attack == "apgd-dlr":
        check_logits(logits := model(x[:1]), x[:1])
        enough_for_dlr(logits)
    attack = _quietly(_attack(peer, seed, restart))
    x = x.contiguous()  # the libraries take views of it
    correct, gave_up = torch.zeros(len(x), dtype=torch.bool), list[int]()
    for part in torch.arange(len(x)).split(1 if peer.attack == "bba" else batch):
        inputs, labels, numbers = x[part], y[part], index[part.numpy()]
        if peer.eps == 0:
            x_adv = inputs
        elif peer.attack in MAY_GIVE_UP:
            x_adv = _attempt(attack, shell, inputs, labels, numbers, gave_up)
        else:
            x_adv = attack(shell, inputs, labels, numbers)
        with torch.no_grad():
            correct[part] = is_right(shell(within(x_adv, inputs, peer.eps / 255)), labels).cpu()
        progress(len(part))
    if gave_up:
        _log.warning("%s: gave up at %d of %d images, which count as correct", peer.attack, len(gave_up), len(x))
    if failed is not None:
        failed += gave_up
    return correct


def within(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    """x_adv (n,C,H,W) clipped to the L-infinity ball around x and to [0,1]; x itself where x_adv is not finite."""
    finite = x_adv.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.minimum(torch.maximum(torch.where(finite, x_adv, x), x - eps), x + eps).clamp(0, 1)


def _attempt(attack: Attack, shell: Counted, x: Tensor, y: Tensor, index: np.ndarray, failed: list[int]) -> Tensor:
    """The library's x_adv; x itself for an image at which it gives up, whose number goes into `failed`."""
    try:
        return attack(shell, x, y, index)
    except FAILURES as error:
        if len(x) == 1:
            _log.debug("image %d: %s: %s", index[0], type(error).__name__, error)
            failed.append(int(index[0]))
            return x
    single = range(len(x))
    return torch.cat([_attempt(attack, shell, x[i : i + 1], y[i : i + 1], index[i : i + 1], failed) for i in single])


def _attack(peer: Peer, seed: int, restart: int) -> Attack:
    """The library's attack as a function of (network, x, y, numbers of the images). InputError: not installed."""
    eps = peer.eps / 255
    attack_seed = keyed_seed(seed, peer.attack)
    match peer.attack:
        case "apgd-dlr":
            return _apgd(_library("pyautoattack", peer.attack), peer.steps, eps, attack_seed, restart)
        case "square":
            return _square(_library("pyautoattack", peer.attack), peer.steps, eps, attack_seed, restart)
        case "deepfool":
            return _deepfool(_library("foolbox", peer.attack), peer.steps)
        case "bba":
            _library("numba", peer.attack)  # foolbox does not declare it
            return _bba(_library("foolbox", peer.attack), peer.steps, attack_seed, restart)


def _apgd(
    library: ModuleType, steps: int, eps: float, seed: int, draw: int, loss: str = "dlr", rank: int = 0
) -> Attack:
    """One start of APGD; with a rank on the targeted DLR loss, towards the class of that rank.

    The library draws the start for the batch; here each image has its own, equally distributed.
    """

    def attack(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        base, shared = library.autopgd_base, {"n_iter": steps, "norm": "Linf", "eps": eps, "rho": 0.75}
        if rank:
            run = base.APGDAttack_targeted(model, **shared, device=x.device)
            with torch.no_grad():
                run.y_target = model(x).sort(dim=1)[1][:, -rank]
        else:
            run = base.APGDAttack(model, **shared, loss=loss, device=x.device)
        run.init_hyperparam(x)
        noise = sample_noise(seed, index, draw, (x.shape[1], x.shape[2], x.shape[3])).to(x.device)
        start = x + eps * run.normalize(2 * noise - 1)
        with seeded(seed, device=x.device):  # the library draws a start that is not used
            return run.attack_single_run(x, y, x_init=start)[3]

    return attack


def _square(library: ModuleType, queries: int, eps: float, seed: int, restart: int) -> Attack:
    """One start of Square. As in the library all images get the same squares; each has its own stripes at the start."""

    def attack(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        stripes = 2 * sample_noise(seed, index, restart, (x.shape[1], 1, x.shape[3])).to(x.device) - 1

        class Square(library.square.SquareAttack):
            def random_choice(self, shape: list[int]) -> Tensor:
                return stripes.sign() if len(shape) == 4 else super().random_choice(shape)

        run = Square(model, n_queries=queries, eps=eps, p_init=0.8, resc_schedule=False, device=x.device)
        run.init_hyperparam(x)
        with seeded(seed, restart, device=x.device):
            return run.attack_single_run(x, y)[1]

    return attack


def _deepfool(library: ModuleType, steps: int) -> Attack:
    def attack(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        bounded = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
        return library.attacks.LinfDeepFoolAttack(steps=steps).run(bounded, x, library.Misclassification(y))

    return attack


def _bba(library: ModuleType, steps: int, seed: int, restart: int) -> Attack:
    """BBA of one image from blended noise, the library's default; it gives up where no noise is misclassified."""

    def attack(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        bounded = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
        run = library.attacks.LinfinityBrendelBethgeAttack(steps=steps)
        with seeded(seed, restart, int(index[0]), device=x.device):
            return run.run(bounded, x, library.Misclassification(y))

    return attack


def _library(name: str, attack: str) -> ModuleType:
    """The package, imported when needed: foolbox takes seconds. InputError: it or a package it needs is missing."""
    try:
        with warnings.catch_warnings(action="ignore"):
            if name == "pyautoattack":
                import pyautoattack.autopgd_base
                import pyautoattack.fab_pt
                import pyautoattack.square

                return pyautoattack
            if name == "numba":
                import numba

                return numba
            os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox imports GitPython, which wants a git
            import foolbox

            return foolbox
    except ImportError as error:
        lacking = error.name.split(".")[0] if error.name else name
        needs = name if lacking == name else f"{name}, and that {lacking}"
        raise InputError(f"{attack}: needs the package {needs}, which cannot be imported here") from None


def _finite(values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise FloatingPointError("not finite")


def _quietly(attack: Attack) -> Attack:
    """The libraries warn of zero gradients."""

    def quiet(model: Counted, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        with warnings.catch_warnings(action="ignore"):
            return attack(model, x, y, index).detach()

    return quiet
