"""Warning signs: on outcomes made up so that each shows or does not, and on the committed ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from advgrad import config
from advgrad.report.flags import Flag, flags

ROOT = Path(__file__).parents[2]
MODEL, FURTHER, TRANSFER = "bnn-mlp-wq", "bnn-mlp-wq-further", "bnn-mlp-wq-transfer"
LINF = {"norm": "linf", "eps": 25.5, "step": 3.0, "gradient": "plain", "loss": "ce", "precision": "float32"}
PAPERS = {"attack-bnn": config.load_paper("attack-bnn", root=ROOT)}
N = 200


def outcome(*shares: float) -> np.ndarray:
    """(1, marks, N): of the images in a fixed order the first ones are left."""
    return np.stack([np.arange(N) < share * N for share in shares])[None].astype(np.uint8)


def record(folder: Path, name: str, runs: dict[str, tuple[np.ndarray, dict]], zero: float = 0.0, **more: Any) -> None:
    masking = {"zero_gradient": zero, "gap_over_17": 0.5}
    known = {
        run: {"steps": list(range(1, array.shape[1] + 1)), "attack": attack} for run, (array, attack) in runs.items()
    }
    arrays = {"clean": np.ones(N, np.uint8), "index": np.arange(N), **{run: array for run, (array, _) in runs.items()}}
    (folder / f"{name}.json").write_text(json.dumps({"model": MODEL, "masking": masking, "runs": known}))
    save_file({**arrays, **more}, folder / f"{name}.safetensors")


def signs(folder: Path) -> set[tuple[str, str]]:
    return {(flag.attack, flag.sign) for flag in flags(folder, PAPERS)}


@pytest.mark.parametrize(("exact", "zero", "wanted"), [(0.1, 0.2, True), (0.48, 0.04, False), (0.6, 0.0, False)])
def test_zero_gradients_and_a_stronger_signal(tmp_path: Path, exact: float, zero: float, wanted: bool) -> None:
    runs = {f"pgd/{name}": (outcome(exact), {**LINF, "gradient": name}) for name in ("exact", "njs", "hns")}
    record(tmp_path, MODEL, {"pgd/plain": (outcome(0.5), LINF), **runs}, zero)
    found = {("pgd/plain", name) for name in ("zero gradients", "exact signal stronger", "PGD++ stronger")}
    assert signs(tmp_path) == (found if wanted else set())


@pytest.mark.parametrize(("left", "wanted"), [(0.3, True), (0.49, False)])
@pytest.mark.parametrize("box", ["square/pyautoattack", "pgd/plain"])
def test_a_black_box(tmp_path: Path, box: str, left: float, wanted: bool) -> None:
    """The library's says no norm; one on a surrogate is another record. A larger ball says nothing."""
    attack = {"eps": 25.5} if box.startswith("square") else LINF
    record(tmp_path, MODEL, {"white/plain": (outcome(0.5), LINF)})
    record(tmp_path, TRANSFER, {box: (outcome(left), attack)})
    assert signs(tmp_path) == ({("white/plain", "black box stronger")} if wanted else set())
    record(tmp_path, TRANSFER, {box: (outcome(left), {**attack, "eps": 30.0})})
    assert signs(tmp_path) == set()


@pytest.mark.parametrize(("marks", "wanted"), [((0.9, 0.5, 0.2), False), ((0.5, 0.2, 0.4), True), ((0.2, 0.22), False)])
def test_more_steps(tmp_path: Path, marks: tuple[float, ...], wanted: bool) -> None:
    record(tmp_path, MODEL, {"pgd/plain": (outcome(*marks), LINF)})
    assert signs(tmp_path) == ({("pgd/plain", "more steps not stronger")} if wanted else set())


@pytest.mark.parametrize(("left", "wanted"), [(0.6, True), (0.52, False), (0.3, False)])
def test_a_larger_radius(tmp_path: Path, left: float, wanted: bool) -> None:
    """A larger ball leaves more of the images; beside a run of another loss that says nothing."""
    wide = {**LINF, "eps": 51.0, "step": 6.0}
    record(tmp_path, FURTHER, {"near/plain": (outcome(0.5), LINF), "far/plain": (outcome(left), wide)})
    assert signs(tmp_path) == ({("far/plain", "larger radius not stronger")} if wanted else set())
    wide["loss"] = "margin"
    record(tmp_path, FURTHER, {"near/plain": (outcome(0.5), LINF), "far/plain": (outcome(left), wide)})
    assert signs(tmp_path) == set()


@pytest.mark.parametrize(("stalled", "wanted"), [(0.4, True), (0.1, False)])
def test_a_loss_that_does_not_rise(tmp_path: Path, stalled: float, wanted: bool) -> None:
    """Of the half of the images that still stands."""
    halvings = np.where(np.arange(N)[:, None] < stalled * N, [[3, 5]], [[3, -1]]).astype(np.int16)
    halved: dict[str, Any] = {"halvings/apgd/plain": halvings}
    record(tmp_path, MODEL, {"apgd/plain": (outcome(0.5), LINF)}, **halved)
    assert signs(tmp_path) == ({("apgd/plain", "loss does not rise")} if wanted else set())


@pytest.fixture(scope="module")
def committed() -> list[Flag]:
    scale = config.load_scale("quick", ROOT)
    papers = {paper: config.load_paper(paper, scale, ROOT) for paper in config.papers(ROOT)}
    return flags(ROOT / "reports" / "quick" / "outcomes", papers)


def test_the_binary_network_trips_them_under_pgd_and_not_under_pgd_plus_plus(committed: list[Flag]) -> None:
    for model in ("bnn-mlp-wq", "bnn-mlp-wq-1", "bnn-mlp-wq-2"):
        own = [flag for flag in committed if flag.model == model]
        assert {"zero gradients", "exact signal stronger", "PGD++ stronger"} <= {flag.sign for flag in own}
        assert all(flag.attack.endswith("/plain") for flag in own)


def test_the_float_networks_trip_none_but_where_their_logits_were_multiplied(committed: list[Flag]) -> None:
    known = {flag.model for flag in committed}
    assert not known & {"bnn-mlp-ref", "bnn-resnet18-ref", "bnn-vgg16-ref", "linbp-mlp", "linbp-lenet5"}
    (multiplied,) = [flag for flag in committed if flag.model == "bnn-mlp256-ref"]
    assert multiplied.attack.startswith("pgd_c_") and multiplied.sign == "exact signal stronger"


def test_each_says_what_to_try_and_the_list_is_short(committed: list[Flag]) -> None:
    assert len({(flag.model, flag.sign) for flag in committed}) == len(committed) < 45
    assert all(flag.remedy and flag.figures for flag in committed)
    (exact,) = [flag for flag in committed if flag.model == "bnn-mlp-wq" and flag.sign == "exact signal stronger"]
    assert (exact.attack, exact.figures) == ("pgd_linf/plain", "40.6 %, pgd_linf/exact 5.4 %")
    page = (ROOT / "reports" / "quick" / "index.html").read_text("utf-8")
    assert (
        f"<li><b>{exact.model}</b>, {exact.attack}: {exact.sign} ({exact.figures}). Try: {exact.remedy}.</li>" in page
    )
