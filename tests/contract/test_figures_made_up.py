"""Tables, figures, claims and findings come of what the stages write, and the papers' own numbers of the specs."""

from pathlib import Path

import pandas as pd
import pytest

from advgrad.claims.findings import PLACE, findings_md
from advgrad.claims.judge import counts, grid_of
from advgrad.claims.spec import load_claims
from advgrad.figures.points import build_figure
from advgrad.tables.cells import VERDICTS, read_cells, read_paper
from tests.contract.made_up import SPECS, figure, figures, judged, paper, write_nothing, write_paper


@pytest.fixture(scope="module", params=["smoke", "paper"])
def linbp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paper("linbp", request.param, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module", params=["smoke", "paper"])
def gaat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paper("gaat", request.param, tmp_path_factory.mktemp("site"))


def cells_of(results: Path) -> pd.DataFrame:
    return read_cells(*results.glob("tables/*/cells.csv"))


def drawn(name: str, results: Path) -> pd.DataFrame:
    """The points of all of a paper's figures; each series of each panel has some."""
    parts = []
    for spec in map(figure, figures(name)):
        points = build_figure(spec, results).assign(figure=spec.name)
        shown = points[points.y.notna()]
        lines = {(at, label) for at, panel in spec.panels.items() for label in panel.series}
        assert set(zip(shown.panel, shown.series, strict=True)) == lines
        parts.append(points)
    return pd.concat(parts)


def test_linbps_figures_are_drawn_from_what_the_stages_write(linbp: Path):
    points = drawn("linbp", linbp)
    assert set(points.reason) == {""}
    ends = {f"linbp-{n}": 100 if n < 3 else 200 if n < 5 else 3 for n in range(1, 13)}  # steps, epochs
    assert points.groupby("figure").x.max().to_dict() == ends


def test_linbps_tables_are_built_from_what_the_stages_write(linbp: Path):
    cells, scale = cells_of(linbp), linbp.name
    missing = cells[cells.value.isna()]
    assert set(missing.reason) <= {"the analysis gave no finite number", "all of its 100 steps are early"}
    lost = missing[missing.table == "training"]
    names = {(net, f"LinBP x{rate}") for net, rate in (("LeNet-5", 10), ("VGG-16", 10), ("VGG-16", 20))}
    assert {tuple(row.split(" / ")[1:]) for row in lost.row} == names
    assert {column.split()[-1] for column in lost.column} == {"loss"}
    assert set(cells.n.dropna()) <= {3, 5, 20, 100, 200, 1000}
    held = cells[cells.verdict.isin(VERDICTS[:6])]
    networks = {"VGG-16", "ResNet-50", "DenseNet-161", "MobileNetV2"}
    assert {"1", "2"} <= set(held.table) if scale == "paper" else held.empty
    assert networks <= set(held.column) or scale == "smoke"
    assert cells.reason.str.contains("restarts").any() == (scale == "smoke")  # 2 of 5


def test_linbps_claims_on_numbers_made_up_to_fit_them(linbp: Path):
    """LinBP ahead at first and even at the end, lost at large rates: as `write_curves` makes them."""
    claims = judged("linbp", linbp)
    for name in ("mnist-faster", "cifar-faster", "large-rate-lenet5", "large-rate-vgg16"):
        assert "one seed" in set(claims[name].reason), name
        assert set(claims[name].verdict) == {"undecided"}, name
    for name in ("mnist-ends-no-worse", "cifar-ends-comparable", "exponential-similar", "strategy-2-hurts"):
        assert (set(claims[name].held) == {"not judged"}) == (linbp.name == "smoke"), name
    simulated = [name for name in claims if "simulation" in name or name.startswith("larger-gradients")]
    assert len(simulated) == 6
    assert not [name for name in simulated if counts(claims[name])["not run"]]


def test_gaats_cells_and_figures_come_of_what_the_stages_write(gaat: Path):
    cells = cells_of(gaat)
    missing = cells[cells.value.isna()]
    assert set(missing.reason) == {"a natural training is not stopped early", "RAT has neither"}
    assert not [table for table in missing.table if table.isdecimal() or table == "best"]
    points = drawn("gaat", gaat)
    assert set(points.figure[points.y.isna()]) == ({"gaat-2"} if gaat.name == "smoke" else set())


def test_gaats_claims_find_their_cells_and_findings_are_written(gaat: Path):
    claims, scale = judged("gaat", gaat), gaat.name
    assert not [name for name, lines in claims.items() if lines.verdict.iloc[0] == "not run"]
    if scale == "paper":
        assert not [name for name, lines in claims.items() if counts(lines)["not run"]]
        for name in ("spares-operations", "mnist-one-step", "hessian-costs-no-pass"):
            assert set(claims[name].verdict) == {"passes"}, name
    spec, grid = load_claims(SPECS / "claims" / "gaat.yaml"), grid_of(read_paper(gaat, "gaat"))
    text = findings_md(SPECS / "findings" / "gaat.md", grid, spec, pd.concat(claims.values()), scale)
    assert not PLACE.search(text)
    assert f"Scale: {scale}." in text
    assert "13.00 ms on ResNet-50" in " ".join(text.split())


@pytest.fixture(scope="module", params=["attack-bnn", "gaat", "linbp"])
def nothing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, pd.DataFrame]]:
    """A paper's claims where nothing was run: every cell is looked up, and the paper's own numbers are judged."""
    return request.param, judged(request.param, write_nothing(request.param, tmp_path_factory.mktemp("nothing")))


WRONG = {  # claim -> comparisons that the paper's own numbers contradict, claims that mostly hold left out
    "attack-bnn": {"never-weaker": 2, "below-deepfool-and-bba": 2, "jsv-closer-to-one": 3, "overhead": 1},
    "gaat": {
        "natural-accuracy": 1,  # MNIST: 99.30 against 99.31
        "jacobian-costs-a-step": 4,  # its Table 3 has a forward and backward pass for less than a forward and backward
    },
    "linbp": {},
}
RIGHT = {
    "gaat": {
        "saves-time": 7, "larger-networks-save-more": 5, "up-to-60": 1, "generation-is-faster": 8,
        "hessian-is-negligible": 4, "natural-accuracy": 6, "adversarial-accuracy": 7, "early-stopping": 8,
        "gaat-saves-more-than-dat": 4, "dat-gaat-saves": 2,
    },
    "linbp": {"never-weaker": 40, "nearly-all-broken": 4, "auto-pgd-is-stronger": 20, "halves-earlier": 8, "silu": 2},
}  # fmt: skip
AT_FULL_SIZE = {  # claims about what is at full size everywhere, or counted: judged at every scale
    "gaat": {"spares-operations", "same-share-everywhere", "hessian-costs-no-pass"},  # and all of MNIST's
    "linbp": {
        "attack-simulation", "attack-simulation-normalised", "training-simulation", "training-simulation-normalised",
        "larger-gradients-attack", "larger-gradients-training", "mnist-faster", "large-rate-lenet5", "large-rate-mlp",
        "never-weaker-mnist", "mnist-early",
    },
}  # fmt: skip


def test_what_the_papers_say_of_their_own_numbers(nothing: tuple[str, dict[str, pd.DataFrame]]):
    name, claims = nothing
    spec, papers = load_claims(SPECS / "claims" / f"{name}.yaml"), {}
    for claim, lines in claims.items():
        assert set(lines.verdict) == {"not run"}
        papers[claim] = counts(lines, "paper_held")
        assert papers[claim]["undecided"] == 0  # numbers without intervals
        if spec.claims[claim].most:
            assert papers[claim]["holds"] > papers[claim]["contradicted"] or not papers[claim]["holds"]
    exact = {claim: held["contradicted"] for claim, held in papers.items() if not spec.claims[claim].most}
    assert {claim: count for claim, count in exact.items() if count} == WRONG[name]
    if name in RIGHT:
        assert {claim: held["holds"] for claim, held in papers.items() if held["holds"]} == RIGHT[name]


def test_claims_judged_everywhere_are_about_what_is_at_full_size_or_counted(
    nothing: tuple[str, dict[str, pd.DataFrame]],
):
    name, claims = nothing
    spec = load_claims(SPECS / "claims" / f"{name}.yaml")
    if name in AT_FULL_SIZE:
        mnist = {claim for claim in claims if name == "gaat" and claim.startswith("mnist-")}
        assert {claim for claim in claims if spec.claims[claim].companion} == AT_FULL_SIZE[name] | mnist
    whole = {name: paper(name, "paper") for name in ("linbp", "gaat")}
    for scale in ("quick", "desk", "gpu"):
        file = paper("linbp", scale)
        assert file.simulations == whole["linbp"].simulations
        for net, recipe in (("mlp", "mnist-mlp"), ("lenet5", "mnist-lenet5")):
            assert file.networks[net] == whole["linbp"].networks[net]
            assert file.recipes[recipe].model_copy(update={"epochs": None}) == whole["linbp"].recipes[recipe]
            assert file.curves[f"linbp-mnist-{net}"].test is None
        file = paper("gaat", scale)
        assert file.networks["mnist"] == whole["gaat"].networks["mnist"]
        for recipe in ("rat", "gaat", "dat", "dat-gaat"):
            assert file.recipes[recipe].adversary == whole["gaat"].recipes[recipe].adversary


def test_attack_bnns_own_exceptions(tmp_path: Path):
    claims = judged("attack-bnn", write_nothing("attack-bnn", tmp_path))

    def exceptions(name: str) -> set[tuple[str, ...]]:
        lines = claims[name].query("paper_held == 'contradicted'")
        return {
            (line.left, line.paper_left, line.right.rsplit(", ", 1)[1], line.paper_right) for line in lines.itertuples()
        }

    assert exceptions("never-weaker") == {
        ("Table 9, ResNet-18, fgsm++njs", "9.23", "fgsm", "9.06"),
        ("Table 9, VGG-16, fgsm++njs", "17.24", "fgsm", "16.28"),
    }
    assert exceptions("below-deepfool-and-bba") == {
        ("Table 4, ref, pgd++hns", "48.54", "bba", "48.43"),
        ("Table 4, md-tanh-s, pgd++njs", "40.76", "bba", "40.69"),
    }
    worse = {line for line in exceptions("hns-over-njs-cifar10") if line[0].startswith("Table 3")}
    networks = ("ResNet-18", "VGG-16", "ResNet-50", "DenseNet-121")
    l2 = {"ref / VGG-16", "ref / ResNet-50"} | {f"bnn-waq / {net}" for net in networks}
    assert {line[0].split(", ")[1] for line in worse if "_l2_" in line[0]} == l2
    assert ("Table 3, bnn-waq / ResNet-50, fgsm++hns", "27.05", "fgsm++njs", "25.89") in worse
    assert exceptions("jsv-closer-to-one") == {
        ("Table 13, jsv_mean / njs, bnn-waq", "2.24e-01", "bnn-waq", "1.11e+00"),
        ("Table 13, jsv_mean / hns, bnn-waq", "4.65e+00", "bnn-waq", "1.11e+00"),
        ("Table 13, jsv_mean / hns, ref_advtrained", "6.11e+00", "ref_advtrained", "5.15e-01"),
    }
