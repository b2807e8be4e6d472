"""linearised(): against a network whose activations have identity as their backward pass, and what it refuses."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from advgrad.attacks import linbp, pgd
from advgrad.errors import InputError
from advgrad.models.linearise import check_functions, linearised

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Straight(torch.autograd.Function):
    """act(x), written over x if in place; identity backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, act: Callable[[Tensor], Tensor], inplace: bool) -> Tensor:
        if not inplace:
            return act(x)
        ctx.mark_dirty(x)
        return x.copy_(act(x.clone()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


class Reference(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, input: Tensor) -> Tensor:
        return Straight.apply(input, self.act, getattr(self.act, "inplace", False))


class Skip(nn.Module):
    """Adds up what comes before an activation, also as a view, and what comes after. In place they are the same."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 4), act, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        before = self.first(x)
        view, alias = before[:, :2], before
        return self.last(self.act(before) * 2 + alias) + view.sum(1, keepdim=True)


class Inner(nn.Module):
    """`block` with act, and a head that is not under it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.block, self.head = block, nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
        for weight in self.parameters():
            nn.init.normal_(weight, generator=torch.Generator().manual_seed(len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


def both(model: nn.Module, x: Tensor = X) -> tuple[Tensor, Tensor]:
    """Outputs, and the gradient of their weighted sum."""
    point = x.clone().requires_grad_()
    out = model(point)
    return out.detach(), torch.autograd.grad((out * torch.linspace(1, 2, out[0].numel())).sum(), point)[0]


def pair(block: Callable[[nn.Module], nn.Module], act: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    return Inner(block(act())), Inner(block(Reference(act())))


ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU, "gelu": nn.GELU, "hardtanh": nn.Hardtanh,
    "relu_": lambda: nn.ReLU(inplace=True), "silu_": lambda: nn.SiLU(inplace=True),
    "hardtanh_": lambda: nn.Hardtanh(-0.5, 0.5, inplace=True),
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_skip_connections_are_those_of_the_reference_bit_for_bit(act: str) -> None:
    model, reference = pair(Skip, ACTS[act])
    plain = both(model)
    with linearised(model, ("block",)):
        linear = both(model)
        with torch.no_grad():
            assert torch.equal(model(X), plain[0])
    wanted = both(reference)
    assert torch.equal(linear[0], plain[0]) and torch.equal(linear[0], wanted[0])
    assert torch.equal(linear[1], wanted[1]) and not torch.allclose(linear[1], plain[1])
    assert all(torch.equal(a, b) for a, b in zip(both(model), plain, strict=True))


class Own(nn.ReLU):
    """Another forward than torch's, with a keyword."""

    def forward(self, input: Tensor) -> Tensor:
        return input * (input > 0)


class Keyword(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(input=x) + self.act.forward(x - 1)


@pytest.mark.parametrize("act", [nn.ReLU, Own, lambda: nn.GELU("tanh")])
def test_keyword_calls_calls_of_forward_and_subclasses(act: Callable[[], nn.Module]) -> None:
    model, reference = pair(Keyword, act)
    with linearised(model, ("block",)):
        linear = both(model)
    assert all(torch.equal(a, b) for a, b in zip(linear, both(reference), strict=True))


def test_copies_averages_and_files_made_inside_are_plain() -> None:
    model = Inner(Skip(nn.ReLU(inplace=True)))
    plain, kinds = both(model), [type(module) for module in model.modules()]
    with linearised(model, ("block",)), linearised(model, ("block.act",)):
        file = io.BytesIO()
        torch.save(model, file)
        made = [copy.deepcopy(model), AveragedModel(model).module, copy.deepcopy(model.block)]
        assert not torch.allclose(both(model)[1], plain[1])
        made[2] = nn.Sequential(made[2], model.head)
    file.seek(0)
    for other in (*made, torch.load(file, weights_only=False), model):
        assert all(torch.equal(a, b) for a, b in zip(both(other), plain, strict=True))
    assert kinds == [type(module) for module in model.modules()] == [type(module) for module in made[0].modules()]


def test_hooks_of_the_user_fire_as_on_the_reference() -> None:
    seen: list[list[Any]] = []
    model, reference = pair(Skip, nn.ReLU)
    for network in (model, reference):
        events, act = list[Any](), network.get_submodule("block.act")
        seen.append(events)
        keep: Callable[[Any], None] = events.append
        act.register_forward_pre_hook(lambda _, args, keep=keep: keep(("before", *args)))  # pyright: ignore
        act.register_forward_hook(lambda _, args, out, keep=keep: keep(("after", *args, out)))
        act.register_full_backward_pre_hook(lambda _, grads, keep=keep: keep(("into", *grads)))
        act.register_full_backward_hook(lambda _, to, grads, keep=keep: keep(("through", *to, *grads)))  # pyright: ignore
    with linearised(model, ("block",)):
        both(model)
    both(reference)
    assert [name for name, *_ in seen[0]] == ["before", "after", "into", "through"] == [name for name, *_ in seen[1]]
    for (_, *mine), (_, *wanted) in zip(*seen, strict=True):
        assert len(mine) == len(wanted) and all(torch.equal(a, b) for a, b in zip(mine, wanted, strict=True))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch itself
@pytest.mark.parametrize("act", ["relu", "gelu", "relu_"])
def test_torch_func(act: str) -> None:
    """grad, vmap of grad, Jacobians forwards and backwards."""
    model, reference = pair(Skip, ACTS[act])
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda x: reference(x[None])[0], x) for x in X])  # pyright: ignore
    with linearised(model, ("block",)):
        reverse, forward = (way(lambda x: model(x[None])[0]) for way in (torch.func.jacrev, torch.func.jacfwd))
        for found in (torch.vmap(reverse)(X), torch.vmap(forward)(X), torch.stack([reverse(x) for x in X])):
            torch.testing.assert_close(found, jacobian, rtol=1e-5, atol=1e-5)
        gradient = torch.func.grad(lambda x: (model(x) * torch.linspace(1, 2, 3)).sum())(X)  # pyright: ignore
        assert torch.equal(gradient, both(model)[1])


class Calls(nn.Module):
    """An activation as a module and one as a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act, self.function, self.weight = nn.ReLU(), function, nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.act(x) - 1)


class Weighted(Calls):
    """The function shapes a weight: no activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x) * self.function(self.weight)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu_": lambda x: (x + 0).relu_(), "gelu": F.gelu, "leaky_relu": F.leaky_relu,
    "hardtanh": lambda x: F.hardtanh(x, inplace=False), "silu": torch.nn.functional.silu,
    "sigmoid": lambda x: x * torch.sigmoid(x), "tanh": torch.tanh, "elu": F.elu, "mish": F.mish,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_under_a_prefix_are_refused_and_elsewhere_left_alone(name: str) -> None:
    model = Inner(Calls(FUNCTIONS[name]))
    with pytest.raises(InputError, match=f"^linearised: Calls calls {name} as a function, .* one by one$"):
        check_functions(model, ("block",), X)
    reference = Inner(Calls(FUNCTIONS[name]))
    reference.block.act = Reference(nn.ReLU())
    check_functions(model, ("block.act", "head"), X)
    with linearised(model, ("block.act",)):
        linear = both(model)
    assert torch.equal(linear[1], both(reference)[1])
    weighted = Inner(Weighted(torch.relu if name == "relu_" else FUNCTIONS[name]))
    check_functions(weighted, ("block",), X)


@pytest.mark.parametrize("act", [nn.LeakyReLU(), nn.PReLU(), nn.Sigmoid(), nn.Hardswish(), nn.ELU()])
def test_other_kinds_are_refused(act: nn.Module) -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), act), nn.Softmax(1))
    kind = type(act).__name__
    for prefix in ("0", "0.2"):
        with pytest.raises(InputError, match=rf"^linearised: 0.2 is a {kind}, .* of: ReLU, ReLU6.*$"):
            linearised(model, (prefix,)).__enter__()
    with linearised(model, ("0.1",)):
        both(model)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize(
    "change",
    [
        torch.jit.script,
        lambda model: torch.jit.trace(model, X),
        compiled,
        lambda model: nn.Sequential(compiled(model)),
        compiled_in_place,
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_compiled_and_scripted_networks_are_refused(change: Callable[[nn.Module], nn.Module]) -> None:
    model = change(nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 3)))
    for prefix in ("0", "0._orig_mod.0", "_orig_mod.0"):
        with pytest.raises(InputError, match=r"^linearised: the network is compiled or scripted; give .*$"):
            linearised(model, (prefix,)).__enter__()


def test_the_attack_says_it_too_and_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), Calls(F.relu).eval())
    model, x = nn.Sequential(nn.Flatten(), block, nn.Linear(6, 3)), torch.rand(2, 3, 2, 2)
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(InputError, match="Calls calls relu as a function"):
        pgd(model, x, torch.tensor([0, 1]), eps=0.1, steps=2, gradient=linbp("1"))
    assert kinds == [type(module) for module in model.modules()]
    assert model.training and block[0].training and not block[2].training
    assert all(p.requires_grad for p in model.parameters())
