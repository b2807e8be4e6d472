"""IPROP against PGD++ on a binary perceptron: how many predictions each flips (attack-bnn, Figure 2).

IPROP is the attack of Khalil, Gupta and Dilkina (Combinatorial Attacks on Binarized Neural Networks, ICLR 2019). No
code was released: this is written from the published description. Starting at the last hidden layer it chooses which
units should flip so that the logit of the runner-up gains on that of the prediction; one small integer program per
layer then asks which units of the layer below must flip for that, and the last one asks for pixels within eps. The
proposal counts only after a forward pass. Choices made here: flips that need less change come first, units that cannot
flip within eps are left out, the targets are weighted, and HiGHS stops at a number of nodes or near the best weight
(the authors used Gurobi with a time limit).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from advgrad.analysis.clean import ProgressFn, correct_target
from advgrad.analysis.iprop_net import binary_mlp
from advgrad.analysis.iprop_search import attack
from advgrad.attacks import gradients
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.space import pixel_space, sample_noise
from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec, Evaluation, Iprop
from advgrad.data.batches import as_float


def _share(hits: np.ndarray) -> dict[str, float]:
    """Share of ones in hits (n,), n > 0, with Wilson's 95 % interval."""
    k, n = int(np.count_nonzero(hits)), len(hits)
    low, high = binomtest(k, n).proportion_ci(method="wilson")
    return {"value": k / n, "low": float(low), "high": float(high)}


def pgd_spec(eps: float, settings: Iprop) -> AttackSpec:
    """PGD++ at eps (1/255): its step, but no less than 2.5 eps / steps, so that every point of the ball is in reach."""
    step = max(settings.step, 2.5 * eps / settings.steps)
    return AttackSpec(norm="linf", eps=eps, step=step, steps=(settings.steps,), start="uniform")


def pgd_flips(
    model: nn.Module, x: Tensor, y: Tensor, index: np.ndarray, spec: AttackSpec, prepare: gradients.Prepare, *,
    seed: int, batch: int,
) -> np.ndarray:  # fmt: skip
    """(n,) bool: whether the final iterate of one uniform start is misclassified. x (n,C,H,W) in [0,1]."""
    flipped = []
    for begin in range(0, len(x), batch):
        part = slice(begin, begin + batch)
        noise = sample_noise(seed, index[part], 0, (x.shape[1], x.shape[2], x.shape[3])).to(x.device)
        space = pixel_space(x.shape[1], x.device)
        x_adv = perturb(model, x[part], y[part], spec, space=space, prepare=prepare, noise=noise)
        flipped.append((model(x_adv).argmax(1) != y[part]).cpu().numpy())
    return np.concatenate(flipped)


def iprop_flips(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, settings: Iprop, outcomes: list[tuple[bool, bool]],
    advance: Callable[[int], None],
) -> tuple[np.ndarray, int]:  # fmt: skip
    """(n,) bool: whether IPROP finds an image within eps (1/255) that the network misclassifies in float32; and how
    many images ran out of seconds.

    outcomes: (flipped, out of seconds) of the first images; the others' are appended one by one, and `advance` gets
    their number.
    """
    net = binary_mlp(model)
    for image, label in zip(x[len(outcomes) :], y[len(outcomes) :], strict=True):

        def wrong(candidate: np.ndarray, image: Tensor = image, label: Tensor = label) -> bool:
            point = torch.from_numpy(candidate).to(image.device).reshape_as(image)
            return bool(model(point[None]).argmax(1)[0] != label)

        result = attack(net, image.cpu().numpy().ravel(), eps / 255, settings, wrong)
        outcomes.append((bool(result.flipped), bool(result.timed_out)))
        advance(len(outcomes))
    return np.array([flipped for flipped, _ in outcomes], dtype=bool), sum(timed_out for _, timed_out in outcomes)


@torch.no_grad()
def flip_rates(
    model: nn.Module, images: Tensor, labels: Tensor, settings: Iprop, evaluation: Evaluation, *, seed: int,
    progress: ProgressFn, kept: dict[str, Any], keep: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Shares in [0,1] of the first correctly classified images that IPROP and PGD++ (NJS) flip, for each eps (1/255).

    images (N,C,H,W) uint8 and labels (N,): the test set from its first image on, on the model's device. timed_out
    counts pairs of image and eps that ran out of seconds; they may not be reproducible. kept: IPROP's outcomes
    of an earlier run; new ones are added. `keep` is called after every image. InputError: not a binary MLP.
    """
    labels, batch = labels.long(), evaluation.batch
    with frozen(model):
        target = correct_target(model, images, labels, evaluation, settings.images, seed)
        if len(target.index) == 0:
            return {"n": 0, "timed_out": {"value": 0}, "iprop": {}, "pgd_njs": {}}
        x, y, n = target.inputs(slice(None)), target.labels, len(target.index)
        mean = mean_singular_value(model, as_float(images[: evaluation.scaling.images]), chunk=batch)
        njs = gradients.njs(evaluation.divisor, 1 / mean if mean > 0 else 1.0, rho=evaluation.scaling.rho)
        iprop: dict[str, Any] = {}
        pgd: dict[str, Any] = {}
        timed_out = 0
        for eps in settings.eps:
            key = format(eps, "g")
            spec = pgd_spec(eps, settings)
            pgd[key] = _share(pgd_flips(model, x, y, target.index, spec, njs, seed=seed, batch=batch))

            def advance(done: int, key: str = key) -> None:
                progress(f"iprop/{key}", done, n)
                keep()

            flipped, late = iprop_flips(model, x, y, eps, settings, kept.setdefault(key, []), advance)
            iprop[key], timed_out = _share(flipped), timed_out + late
    return {"n": n, "timed_out": {"value": timed_out}, "iprop": iprop, "pgd_njs": pgd}
