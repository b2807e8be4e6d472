"""attack-bnn's released code, vector by vector."""

import pytest
import torch

from advgrad.attacks.gradients import Prepare, hns, njs, plain
from advgrad.attacks.jacobian import logits_gram, mean_singular_value, singular_values
from advgrad.attacks.loop import perturb
from advgrad.attacks.norms import start
from advgrad.attacks.scaling import hns_beta
from tests.golden.net import SPECS, Golden, load

IMAGES = 24  # the mean of the released loss runs over all of them


@pytest.fixture(scope="module", params=["confident", "saturated"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return load(request.param)


def source(gradient: str, attack: str, golden: Golden) -> Prepare:
    if gradient == "plain":
        return plain(IMAGES)
    if gradient == "njs":
        return njs(IMAGES, 1 / mean_singular_value(golden.model, golden.data["x"]))
    return hns(IMAGES, beta_at=SPECS[attack].beta_at)


def rounding_decides(golden: Golden, point: torch.Tensor) -> torch.Tensor:
    """(24,) bool: 1 - p of the label is about half of what float32 tells 1 from its neighbour by.

    Whether p comes out as 1, and which way the plain gradient then points, is up to the kernel of the softmax: CPUs of
    different kinds disagree. In the saturated network that is so for one image at the start of PGD.
    """
    p = golden.model(point).double().softmax(1)
    rest = p.sum(1) - p.gather(1, golden.data["y"][:, None])[:, 0]
    return (rest > 2**-26) & (rest < 2**-22)


def test_rounding_decides_for_few_images(golden: Golden) -> None:
    begin = start(golden.data["x"], golden.data["noise"], SPECS["pgd_linf"], golden.space)
    assert rounding_decides(golden, begin).sum() <= 2


def test_logits(golden: Golden) -> None:
    torch.testing.assert_close(golden.model(golden.data["x"]), golden.data["logits"])


@pytest.mark.parametrize("gradient", ["plain", "njs", "hns"])
@pytest.mark.parametrize("attack", ["fgsm", "pgd_linf", "pgd_l2"])
def test_attack(golden: Golden, attack: str, gradient: str) -> None:
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    prepare = source(gradient, attack, golden)
    x_adv = perturb(golden.model, x, y, SPECS[attack], space=golden.space, prepare=prepare, noise=noise)
    same = ((x_adv - x - golden.data[f"{attack}_{gradient}_delta"]).abs() <= 1e-5).flatten(1).all(1)
    begin = start(x, noise, SPECS[attack], golden.space)
    assert (same | (rounding_decides(golden, begin) & (gradient == "plain"))).all()
    assert (~same).sum() <= 1
    assert torch.equal(golden.model(x_adv).argmax(1)[same], golden.data[f"{attack}_{gradient}_pred"][same])


def test_singular_values(golden: Golden) -> None:
    _, gram = logits_gram(golden.model, golden.data["x"], chunk=7)
    got = singular_values(gram)
    torch.testing.assert_close(got.float(), golden.data["singular_values"], rtol=1e-3, atol=0)
    mean = mean_singular_value(golden.model, golden.data["x"])
    assert mean == pytest.approx(float(golden.data["mean_singular_value"]), rel=1e-5)


def test_hns_beta(golden: Golden) -> None:
    x, y = golden.data["x"], golden.data["y"]
    begin = start(x, golden.data["noise"], SPECS["pgd_linf"], golden.space)
    for point, key in ((x, "hns_beta_clean"), (begin, "hns_beta_linf_start")):
        beta = hns_beta(*logits_gram(golden.model, point), y)
        torch.testing.assert_close(beta.float(), golden.data[key], rtol=1e-3, atol=0)
    wrong = golden.data["logits"].argmax(1) != y
    assert wrong.any()
    assert (golden.data["hns_beta_clean"][wrong] == 1).all()


def test_saturation_is_a_float32_effect() -> None:
    """What the paper is about: the plain gradient vanishes where the scaled one does not."""
    golden = load("saturated")
    x, y = golden.data["x"], golden.data["y"]

    def dead(gradient: str) -> int:
        prepare = source(gradient, "pgd_linf", golden)
        spec = SPECS["pgd_linf"].model_copy(update={"steps": (1,), "start": "none"})
        x_adv = perturb(golden.model, x, y, spec, space=golden.space, prepare=prepare)
        return int((x_adv == x).flatten(1).all(1).sum())

    assert dead("plain") > 0
    assert dead("njs") == dead("hns") == 0
