"""MI-FGSM in NumPy, on a softmax regression, against the gradient that docs/add-an-attack.md adds: run where it is."""

import numpy as np
import torch
from torch import nn

from advgrad.attacks.gradients import Prepare
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import source
from advgrad.attacks.space import pixel_space
from advgrad.config import AttackSpec, Evaluation, Network
from advgrad.errors import InputError

SPEC = AttackSpec(eps=102, step=12.75, steps=(12,))
IMAGES, SHAPE, CLASSES, DIVISOR = 16, (1, 2, 3), 8, 128


def by_hand(weights: np.ndarray, x: np.ndarray, y: np.ndarray, start: np.ndarray, decay: float) -> np.ndarray:
    """x, start (n,D) in [0,1] -> (n,D); a decay of 0 is PGD."""
    point, total = start, np.zeros_like(x)
    for _ in range(SPEC.steps[-1]):
        logits = point @ weights.T
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        grad = (p - np.eye(CLASSES)[y]) @ weights / DIVISOR
        norm = np.abs(grad).sum(1, keepdims=True)
        total = decay * total + np.divide(grad, norm, out=np.zeros_like(grad), where=norm > 0)
        moved = point + SPEC.step / 255 * np.sign(total)
        point = np.clip(np.clip(moved, x - SPEC.eps / 255, x + SPEC.eps / 255), 0, 1)
    return point


def victim(weights: np.ndarray) -> nn.Module:
    linear = nn.Linear(weights.shape[1], CLASSES, bias=False, dtype=torch.float64)  # a sign that rounds leads elsewhere
    linear.weight.data = torch.from_numpy(weights)
    return nn.Sequential(nn.Flatten(), linear)


def named(gradient: str, spec: AttackSpec = SPEC) -> Prepare:
    attack = {**SPEC.model_dump(), "gradients": {gradient: 1}}
    evaluation = Evaluation.model_validate({"divisor": DIVISOR, "attacks": {"a": attack}})
    return source(gradient, spec, evaluation, Network(architecture="mlp"), 1.0)  # pyright: ignore


def images(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).double().reshape(-1, *SHAPE)


def ours(gradient: str, weights: np.ndarray, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    model, at, labels = victim(weights), images(x), torch.from_numpy(y)
    found = perturb(model, at, labels, SPEC, space=pixel_space(1), prepare=named(gradient), noise=images(noise))
    return found.flatten(1).numpy()


def main() -> None:
    random = np.random.default_rng(0)
    weights, x = random.normal(size=(CLASSES, 6)) * 6, random.random((IMAGES, 6))
    y, noise = random.integers(CLASSES, size=IMAGES), random.random((IMAGES, 6)).astype(np.float32)
    start = np.clip(x + (2 * noise - 1) * SPEC.eps / 255, x - SPEC.eps / 255, x + SPEC.eps / 255)
    found = {name: ours(name, weights, x, y, noise) for name in ("momentum", "plain")}
    for name, decay in {"momentum": 1.0, "plain": 0.0}.items():
        np.testing.assert_allclose(found[name], by_hand(weights, x, y, start, decay), atol=1e-5)
    assert np.abs(found["momentum"] - found["plain"]).max() > 0.01, "else momentum is not told from PGD"

    alone = [ours("momentum", weights, x[[i]], y[[i]], noise[[i]]) for i in range(IMAGES)]
    np.testing.assert_allclose(np.concatenate(alone), found["momentum"], atol=1e-6)
    sure = torch.from_numpy((x @ weights.T).argmax(1))
    gradient, _ = named("momentum")(victim(weights * 1e6), images(x), images(x), sure, Passes())(images(x))
    assert not gradient.any(), "where the loss's gradient is 0, momentum is 0 and not NaN"

    try:
        named("momentum", SPEC.model_copy(update={"method": "apgd"}))
    except InputError as error:
        assert str(error) == "attack: gradient 'momentum' is for method 'pgd', not 'apgd'"
    else:
        raise AssertionError("Auto-PGD took it")


main()
