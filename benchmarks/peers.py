"""This project's attacks beside what one would use instead: other libraries, or a plain loop.

    PYTHONPATH=src python benchmarks/peers.py [--settings pgd20 row] [--images 128] [--pairs 5] [--width 0.25]

Ours and the peer run in turn on the same network and images, from the same starts where the library takes them. One
that is not installed is skipped; ART is the adversarial-robustness-toolbox. Peers get frozen weights in evaluation
mode, which is fastest; `weights learn`: as a training leaves a network. An evaluation of ours also classifies the
images before the attack and looks for signs of masking: two forward passes and one backward.

The network is random, the ball 8/255 in L-infinity (but for the row's L2 attack). Its last bias is set so that about
half of the images withstand PGD-20; all are of class 0. Accuracies in % must agree within 0.5 points, or one image if
there are few, unless `why` says why they need not. For `hns` they are shares of images with the beta that ours finds.

rate: images x steps per second of ours, all restarts counted. ratio: the peer's time by ours. With one thread seconds
are those that this process computed, since others may be using the machine. Up to a fifth goes into memory that glibc
gives back and takes anew, in some loops only. keeps: MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2000000000 forbids that.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import pandas as pd
import torch
from adversarial_training import EPS, STEP, STEPS, plain_pgd, update
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad import attacks, config, determinism
from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.jacobian import logits_gram, logits_jacobian
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import beta_of, hns_beta, njs_logits
from advgrad.attacks.space import sample_noise
from advgrad.draws import seeded
from advgrad.models import registry
from advgrad.training.adversaries import adversarial

Attack = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (n,C,H,W), y (n,), starts (n,C,H,W) -> x_adv (n,C,H,W)
Works = dict[str, Callable[[], float]]  # "ours", then peers -> what gives the accuracy

RADIUS, SIZE = 8 / 255, 2 / 255
SOURCES = ("plain", "njs", "hns")
PGD = {"eps": 8, "step": 2, "steps": [20], "clip_start": True, "gradients": dict.fromkeys(SOURCES, 1)}
ROW = {"fgsm": PGD | {"step": 8, "steps": [1]}, "pgd": PGD, "pgd_l2": PGD | {"norm": "l2", "eps": 120, "step": 15}}
NORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # J (d,D), S (d,d) -> norm of the Hessian J^T S J
    "plain loop, Hessian formed": lambda rows, s: (rows.T @ s @ rows).norm(),
    "plain loop, traces": lambda rows, s: (s @ rows @ rows.T).matrix_power(2).trace().relu().sqrt(),
}
PGDS = ("foolbox", "torchattacks", "adv-lib", "ART")
WHY = dict.fromkeys(PGDS[1:], "draws starts of its own")
WHY["adv-lib"] += "; any iterate but the last may break an image"
WHY["plain training"] = "rounding decides the signs of tiny gradients, and training amplifies that"
say = partial(print, flush=True)


class Case(NamedTuple):
    """A network with frozen weights in evaluation mode, and images that it classifies as y."""

    network: config.Network
    model: nn.Module
    images: Tensor  # (n,C,H,W) uint8
    x: Tensor  # the same in [0,1]
    y: Tensor

    def noise(self, chosen: Tensor, restart: int = 0) -> Tensor:
        """In [0,1), as our attacks draw it."""
        return sample_noise(0, chosen.tolist(), restart, tuple(self.x.shape[1:]))

    def evaluate(self, entries: dict[str, dict[str, Any]]) -> float:
        """The mean accuracy of our attacks."""
        evaluation = config.Evaluation.model_validate({"batch": len(self.y), "attacks": entries})
        found = evaluate(self.model, self.images, self.y, evaluation, self.network, seed=0).correct
        return 100 * mean(float(rows[-1, -1].mean()) for rows in found.values())


def build(mlp: bool, width: float, n: int) -> Case:
    """Images stay so far from 0 and 255 that no start leaves the box."""
    resnet = config.Network(architecture="resnet18", width=width)
    network = config.Network(architecture="mlp", hidden=(256,) * 5) if mlp else resnet
    with seeded(0, "peers"):
        model = registry.build(network, "mnist" if mlp else "cifar10")
        images = torch.randint(16, 240, (n, 1, 28, 28) if mlp else (n, 3, 32, 32), dtype=torch.uint8)
    registry.check_device(network, model, torch.device("cpu"))
    x, y = (images.float() / 255).contiguous(memory_format=torch.channels_last), torch.zeros(n, dtype=torch.int64)
    for _ in range(30):  # for the statistics of batch normalisation
        accuracy(model.train(), x, y)
    model.eval().requires_grad_(False)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    for _ in range(3):  # the way to a rival class depends on the bias
        logits = model(attacks.pgd(model, x, y, eps=RADIUS, step=SIZE).x_adv)
        last.bias[0] += (logits[:, 1:].amax(1) - logits[:, 0]).median()
    return Case(network, model, images, x, y)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return 100 * float((model(x).argmax(1) == y).double().mean())


def library(name: str, model: nn.Module, x: Tensor, steps: int) -> Attack:
    """A library's PGD, pyautoattack's Auto-PGD. x: images of the attack's shape. ImportError: it is not installed."""
    if name == "torchattacks":
        run = import_module(name).PGD(model, eps=RADIUS, alpha=SIZE, steps=steps)
        return lambda x, y, starts: run(x, y)
    if name == "adv-lib":
        run = import_module("adv_lib.attacks").pgd_linf
        return lambda x, y, starts: run(model, x, y, RADIUS, steps=steps, absolute_step_size=SIZE)
    if name == "ART":
        make = import_module("art.estimators.classification").PyTorchClassifier
        classifier = make(model, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1), device_type="cpu")
        make = import_module("art.attacks.evasion").ProjectedGradientDescentPyTorch
        run = make(classifier, torch.inf, RADIUS, SIZE, None, steps, False, 1, batch_size=len(x), verbose=False)
        return lambda x, y, starts: torch.from_numpy(run.generate(x.numpy(), y.numpy()))
    if name == "pyautoattack":
        run = import_module("pyautoattack.autopgd_base").APGDAttack(model, n_iter=steps, eps=RADIUS, device="cpu")
        run.init_hyperparam(x)
        return lambda x, y, starts: run.attack_single_run(x, y, x + RADIUS * run.normalize(starts.contiguous() - x))[3]
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox imports GitPython, which wants a git
    foolbox, eagerpy = import_module(name), import_module("eagerpy")
    pgd, bounded = foolbox.attacks.LinfPGD(abs_stepsize=SIZE, steps=steps), foolbox.PyTorchModel(model, (0, 1), "cpu")

    def attack(x: Tensor, y: Tensor, starts: Tensor) -> Tensor:
        pgd.get_random_start = lambda x0, epsilon: eagerpy.astensor(starts)
        return pgd.run(bounded, x, y, epsilon=RADIUS)

    return attack


def against(case: Case, steps: int, names: tuple[str, ...] = PGDS, restarts: int = 1, **fields: object) -> Works:
    """PGD with these fields against libraries; a restart is made of the images that none before has broken."""
    entry = PGD | {"steps": [steps // restarts], "gradients": {"plain": restarts}} | fields

    def peer(attack: Attack, learn: bool) -> float:
        left = torch.arange(len(case.y))
        for restart in range(restarts):
            if len(left):
                x, y, starts = case.x[left], case.y[left], 2 * case.noise(left, restart) - 1
                case.model.requires_grad_(learn)
                x_adv = attack(x, y, x + RADIUS * starts).detach()
                left = left[case.model.requires_grad_(False)(x_adv).argmax(1) == y]
        return 100 * len(left) / len(case.y)

    works: Works = {"ours": lambda: case.evaluate({"attack": entry})}
    for name in names:
        try:
            attack = library(name, case.model, case.x, steps // restarts)
            works[name] = partial(peer, attack, False)
            if restarts == 1:
                works[f"{name}, weights learn"] = partial(peer, attack, True)
        except ImportError as error:
            say(f"{name}: skipped: {error}")
    return works


def plain_betas(case: Case, x: Tensor, name: str) -> Tensor:
    """HNS's betas (n,), one Hessian's norm after the other."""
    found = []
    for z, rows, label in zip(*(values.double() for values in logits_jacobian(case.model, x)), case.y, strict=True):
        first, second = z.topk(2).values
        ends = (beta_of(rho, len(z)) for rho in (1 - 1 / len(z) - 0.01, 1e-72))
        grid = torch.linspace(*ends, 100, dtype=torch.float64) / (first - second)
        shares = (grid[:, None] * z).softmax(1)
        best = int((grid**2 * torch.stack([NORMS[name](rows, p.diag() - p.outer(p)) for p in shares])).argmax())
        found.append(float(grid[best]) if z.argmax() == label and 0 < best < 99 else 1.0)
    return torch.tensor(found, dtype=torch.float64)


def betas(case: Case, steps: int) -> Works:
    """HNS's betas of a batch."""
    finds = {name: partial(plain_betas, case, case.x, name) for name in NORMS}
    finds = {"ours": lambda: hns_beta(*logits_gram(case.model, case.x), case.y)} | finds
    ours = finds["ours"]()
    return {k: lambda find=find: 100 * float(torch.isclose(find(), ours).double().mean()) for k, find in finds.items()}


def plain_column(case: Case, attack: str, source: str, name: str) -> float:
    """An attack with one gradient source, for which it computes everything itself."""
    spec, model, x, y, beta1 = config.AttackEntry(**ROW[attack]), case.model, case.x, case.y, 1.0
    radius, linf, beta = spec.eps / 255, spec.norm == "linf", torch.ones(len(y), 1)

    def inside(delta: Tensor) -> Tensor:
        return (x + (delta.clamp(-radius, radius) if linf else delta.renorm(2, 0, radius))).clamp(0, 1)

    x_adv = inside(radius * (2 * case.noise(torch.arange(len(y))) - 1))
    if source == "njs":
        beta1 = 1 / float(torch.linalg.svdvals(logits_jacobian(model, x[:101])[1]).mean())
    if source == "hns":
        beta = plain_betas(case, x_adv, name).float()[:, None]
    for _ in range(spec.steps[-1]):
        logits = model(x_adv.requires_grad_()) * beta
        logits = njs_logits(logits, y, beta1=beta1, rho=0.01) if source == "njs" else logits
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, y), x_adv)
        move = grad.sign() if linf else F.normalize(grad.flatten(1)).view_as(grad)
        x_adv = inside(x_adv.detach() + spec.step / 255 * move - x)
    return accuracy(model, x_adv, y)


def row(case: Case, steps: int) -> Works:
    """The mean of nine attacks, a row of attack-bnn's tables."""

    def peer(name: str) -> float:
        return mean(plain_column(case, attack, source, name) for attack in ROW for source in SOURCES)

    return {"ours": lambda: case.evaluate(ROW)} | {name: partial(peer, name) for name in NORMS}


def rat(case: Case, steps: int) -> Works:
    """Four updates of adversarial training."""
    adversary = config.training.Adversary(kind="pgd", eps=EPS, step=STEP, steps=steps)
    ours = partial(adversarial, adversary=adversary, divisor=len(case.y), passes=Passes())
    y = torch.arange(len(case.y)) % 10

    def train(attack: Callable[..., Tensor]) -> float:
        model = copy.deepcopy(case.model).requires_grad_(True).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for part in torch.arange(len(y)).tensor_split(4):
            update(model, optimizer, attack(model, case.x[part], y[part], noise=case.noise(part)), y[part])
        return accuracy(model.eval(), case.x, y)

    return {"ours": partial(train, ours), "plain training": partial(train, plain_pgd)}


SETTINGS: dict[str, tuple[Callable[[Case, int], Works], int]] = {  # with the number of steps
    "pgd20": (against, 20), "pgd20-mlp": (against, 20), "row": (row, 123), "hns": (betas, 1), "rat": (rat, STEPS),
    "pgd100x5": (partial(against, names=("foolbox", "torchattacks"), restarts=5), 500),
    "apgd": (partial(against, names=("pyautoattack",), method="apgd", step=16), 20),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--hessians", type=int, default=8, help="at most so many images in row and hns (default: 8)")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--width", type=float, default=0.25, help="of the ResNet-18 (default: 0.25; full: 1)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/peers.csv"))
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    clock = time.process_time if told.threads == 1 else time.perf_counter
    machine = determinism.fingerprint(torch.device("cpu"), config.schema.Determinism(threads=told.threads))
    machine["keeps"] = int("MALLOC_TRIM_THRESHOLD_" in os.environ)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    rows = list[dict[str, Any]]()
    for name in told.settings:
        make, steps = SETTINGS[name]
        n = min(told.images, told.hessians) if name in ("row", "hns") else told.images
        case = build(name.endswith("mlp"), told.width, n)
        (_, ours), *peers = make(case, steps).items()
        for peer, work in peers:
            spans = list[float]()
            with seeded(0, peer):
                found, found_by_peer = ours(), work()  # warms up
                for run in (ours, work) * told.pairs:
                    begun = clock()
                    run()
                    spans.append(clock() - begun)
            ratios = [theirs / own for own, theirs in zip(spans[::2], spans[1::2], strict=True)]
            agree = abs(found - found_by_peer) <= max(0.5, 100 / n) + 1e-6
            cells = {"setting": name, "peer": peer, "width": case.network.width, "images": n, "steps": steps}
            cells |= {"rate": n * steps / median(spans[::2]), "pairs": told.pairs, "ratio": median(ratios)}
            cells |= {"min": min(ratios), "max": max(ratios), "accuracy": found, "accuracy_peer": found_by_peer}
            rows.append(cells | {"why": WHY.get(peer.split(", ")[0], "" if agree else "DIFFERS")})
            say(pd.DataFrame(rows[-1:]).round(2).to_string(index=False, header=len(rows) == 1))
        pd.DataFrame([cells | machine for cells in rows]).round(3).to_csv(told.out, index=False)
    return int(any(cells["why"] == "DIFFERS" for cells in rows))


if __name__ == "__main__":
    sys.exit(main())
