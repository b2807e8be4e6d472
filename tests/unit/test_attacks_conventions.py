"""What attacks leave as it was, what is detached, and what one who brings another kind of input is told."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import autoattack, gradients, peers, pgd
from advgrad.attacks.apgd import auto_pgd
from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space
from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec, AutoAttack, Evaluation, Network, Peer
from advgrad.config.training import Adversary
from advgrad.errors import InputError
from advgrad.models.registry import macs
from advgrad.training.adversaries import adversarial
from advgrad.training.metrics import measure

X = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])
IMAGES = (255 * X).to(torch.uint8)
NETWORK = Network(architecture="mlp")
PGD = {"attacks": {"pgd": {"eps": 8, "step": 2, "steps": [2], "gradients": {"plain": 1}}}}


def network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(16, classes)
    )


def spec(**fields: Any) -> AttackSpec:
    return AttackSpec(eps=8, step=2, steps=(3,), **fields)


def evaluated(model: nn.Module, images: Tensor = IMAGES, y: Tensor = Y) -> Any:
    return evaluate(model, images, y, Evaluation.model_validate(PGD), NETWORK, seed=0)


def trained_on(model: nn.Module, batch_norm: str) -> Tensor:
    adversary = Adversary.model_validate({"kind": "pgd", "eps": 8, "step": 2, "steps": 2, "batch_norm": batch_norm})
    noise = torch.rand(X.shape)
    return adversarial(model, X, Y, adversary, divisor=4, noise=noise, passes=Passes())


WORK: dict[str, Callable[[nn.Module], Any]] = {
    "pgd": lambda model: pgd(model, X, Y, eps=0.1, steps=2),
    "evaluate": evaluated,
    "adversary": lambda model: trained_on(model, "eval"),
    "adversary in training mode": lambda model: trained_on(model, "train"),
    "measure": lambda model: measure(model, IMAGES, Y, batch=2, prefix="test"),
    "macs": lambda model: macs(model, (3, 4, 4)),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", WORK)
def test_modes_and_flags_are_as_the_caller_left_them(name: str, train: bool, fails: bool) -> None:
    """A network in training with a layer frozen in evaluation mode, or the other way round; also when it breaks off."""
    model = network().train(train)
    model[1].train(not train)
    model[0].requires_grad_(False)
    modes, flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    running = model[1].get_buffer("running_mean").clone()
    if fails:
        model[5].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            WORK[name](model)
    else:
        WORK[name](model)
    assert modes == [m.training for m in model.modules()] and flags == [p.requires_grad for p in model.parameters()]
    assert all(weight.grad is None for weight in model.parameters())
    if train or name != "adversary in training mode":
        assert torch.equal(running, model[1].get_buffer("running_mean"))  # frozen statistics stay frozen


class Stubborn(nn.Linear):
    """Refuses another mode, as a module with a train() of its own may."""

    def train(self, mode: bool = True) -> "Stubborn":
        raise ZeroDivisionError


def test_modes_are_put_back_where_only_some_could_be_set() -> None:
    model = nn.Sequential(nn.Dropout(), Stubborn(3, 3))
    with pytest.raises(ZeroDivisionError), frozen(model):
        pass
    assert all(m.training for m in model.modules()) and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("prepare", [gradients.plain(1), gradients.hns(1), gradients.exact(1), gradients.taylor(1)])
def test_what_comes_of_images_with_a_graph_is_detached(prepare: gradients.Prepare) -> None:
    x, model = X.clone().requires_grad_() * 1, network().eval()
    given: Any = {"space": pixel_space(3), "prepare": prepare, "noise": torch.rand(X.shape)}
    found = [perturb(model, x, Y, spec(norm=norm), **given) for norm in ("linf", "l2")]
    found += auto_pgd(model, x, Y, spec(method="apgd"), **given)
    found += pgd(model, x, Y, eps=0.1, steps=2)[:2]
    assert not any(tensor.requires_grad for tensor in found)
    assert torch.equal(found[0], perturb(model, x.detach(), Y, spec(), **given))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x


class Casts(nn.Module):
    """A network of another type that casts its input."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.core, self.dtype = network().to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x.to(self.dtype))


def auto(model: nn.Module, x: Tensor = X, y: Tensor = Y) -> Tensor:
    settings = AutoAttack.model_validate({"eps": 8, "steps": 2, "images": 4, "members": ["apgd-ce"]})
    return autoattack.correct_after(model.eval(), x, y, settings, seed=0, index=np.arange(4), batch=4)


def peer(model: nn.Module, x: Tensor = X, y: Tensor = Y, attack: str = "apgd-dlr") -> Tensor:
    settings = Peer.model_validate({"attack": attack, "eps": 8, "steps": 2})
    given: Any = {"seed": 0, "index": np.arange(4), "restart": 0, "batch": 4, "progress": lambda _: None}
    return peers.correct_after(model.eval(), x, y, settings, passes=Passes(), **given)


USERS: dict[str, Callable[..., Any]] = {
    "pgd": lambda model, x=X, y=Y: pgd(model, x, y, eps=0.1, steps=2), "evaluate": evaluated, "autoattack": auto,
}  # fmt: skip


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("make", "y", "says"),
    [
        (lambda: network().double(), Y, "model: takes no torch.float32 images; its weights are torch.float64"),
        (lambda: network().bfloat16(), Y, "model: takes no torch.float32 images; its weights are torch.bfloat16"),
        (Pair, Y, "model: must return logits (n,d) with d > 1, not tuple for images"),
        (lambda: network(1), Y, "model: must return logits (n,d) with d > 1, not ("),
        (network, Y + 1, "y: must lie in 0 to 2, the model's classes"),
        (network, Y - 1, "y: must lie in 0 to 2, the model's classes"),
    ],
)
def test_networks_and_labels_of_another_kind(user: str, make: Callable[[], nn.Module], y: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(says)) as caught:
        USERS[user](make(), y=y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_that_casts_is_attacked_as_it_is(dtype: torch.dtype) -> None:
    model = Casts(dtype).eval()
    for gradient in ("plain", "njs", "hns", "exact"):
        result = pgd(model, X, Y, eps=0.1, steps=2, gradient=gradient)
        assert torch.equal(result.correct, model(result.x_adv).argmax(1) == Y) and result.x_adv.dtype == torch.float32
    assert evaluated(model).correct["pgd/plain"].shape == (1, 1, 4)


@pytest.mark.parametrize("user", [evaluated, lambda model, x: measure(model, x, Y, batch=2, prefix="test")])
def test_images_that_were_divided_by_255_already(user: Callable[..., Any]) -> None:
    x = X.clone()
    with pytest.raises(InputError, match=r"^images: must be uint8, 0 to 255, not torch\.float32$"):
        user(network(), x)
    assert torch.equal(x, X)


@pytest.mark.parametrize("user", [USERS["pgd"], auto, peer])
@pytest.mark.parametrize("x", [255 * X, X - 0.5, torch.full_like(X, torch.nan), X.double(), X[0]])
def test_images_outside_the_box_and_of_another_type(user: Callable[..., Any], x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^x: must (lie in \[0,1\]|be float32 \(n,C,H,W\))"):
        user(network(), x)


@pytest.mark.parametrize("attack", ["apgd-dlr", "deepfool", "square"])
def test_a_peer_on_a_network_that_returns_a_tuple(attack: str) -> None:
    """Not counted as an image at which the library gave up."""
    with pytest.raises(ValueError, match=r"^model: must return logits \(n,d\) with d > 1, not tuple"):
        peer(Pair(), attack=attack)


def test_the_limit_of_the_dlr_loss_is_that_of_all_its_users() -> None:
    two, says = Y % 2, "^attack: loss 'dlr' needs at least 3 classes, not 2; use 'ce'$"
    dlr = {"attacks": {"pgd": {**PGD["attacks"]["pgd"], "loss": "dlr"}}}
    apgd = {"attacks": {"pgd": {**dlr["attacks"]["pgd"], "method": "apgd"}}}
    through = {"peers": {"apgd": {"attack": "apgd-dlr", "eps": 8, "steps": 2}}, "filter": "correct"}
    labels = network(2).eval()(X).argmax(1)
    for settings in (dlr, apgd, through):
        with pytest.raises(InputError, match=says):
            evaluate(network(2), IMAGES, labels, Evaluation.model_validate(settings), NETWORK, seed=0)
    with pytest.raises(InputError, match=says):
        peer(network(2), y=two)
    assert peer(network(3)).shape == peer(network(2), y=two, attack="square").shape == (4,)
