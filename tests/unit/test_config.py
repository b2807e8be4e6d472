"""Parameter files: schemas, scales, numbers, and the one line that bad input gets."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from advgrad import config
from advgrad.cli import main
from advgrad.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("params.yaml", "seed: 0", "sed: 0", "params.yaml: sed: unknown key"),
        ("params.yaml", "threads: 1", "threads: 0", "params.yaml: determinism.threads: .* greater than 0, not 0"),
        ("params.yaml", "scale: quick", "scale: huge", "scale: no scale 'huge'; known: desk, gpu, paper, quick, smoke"),
        ("params.yaml", "device: auto", "device: tpu", "device: .*'auto', 'cpu' or 'cuda', not 'tpu'"),
        ("params/gaat.yaml", "kind: pgd, eps: 8, step: 1, steps: 10}", "kind: pgd, eps: -8, step: 1, steps: 10}",
         "gaat.yaml: recipes.rat.adversary.eps: .* greater than or equal to 0, not -8"),
        ("params/gaat.yaml", "length: 200", "length: 200, precision: fp16",
         "recipes.std.precision: .*'float32', 'tf32' or 'bf16', not 'fp16'"),
        ("params/gaat.yaml", "length: 200", "length: long", "recipes.std.length: .* number.*, not 'long'"),
        ("params/gaat.yaml", "pgd: {eps: 8, step: 1, steps: [10]}", "pgd: {eps: 8, step: 1, steps: [10], method: apgd}",
         "recipes.rat.stopping.pgd: .*must be method pgd in float32 in space pixel, not apgd float32 pixel"),
        ("params/gaat.yaml", "model: gaat-vgg16-rat, weights: best}", "model: gaat-vgg16-std, weights: best}",
         "further.gaat-vgg16-rat-best: another recipe than gaat-vgg16-std has: std"),
        ("params/gaat.yaml", "recipe: rat-mnist, evaluation", "recipe: std, evaluation",
         "further.gaat-mnist-rat-best: weights: best needs a recipe with stopping"),
        ("params/gaat.yaml", "{paper: gaat, dataset: mnist, network: mnist, recipe: gaat-mnist,",
         "{paper: linbp, dataset: mnist, network: mnist, recipe: gaat-mnist,",
         "models.gaat-mnist-gaat.paper: must be 'gaat', not 'linbp'"),
        ("params/linbp.yaml", "steps: [10, 20, 100]", "steps: [20, 10]", "steps must ascend"),
        ("params/linbp.yaml", "network: resnet50,", "network: resnet51,", "no 'resnet51' in networks; known: dens"),
        ("params/linbp.yaml", "method: apgd, norm: linf, eps: 16, step: 32, steps: [100]",
         "method: apgd, norm: linf, eps: 16, step: 32, steps: [10, 100]", "apgd: wants norm linf and one number"),
        ("params/linbp.yaml", "kind: attack", "kind: defence", "simulations.linbp-sim-attack: .*'attack', 'training'"),
        ("params/linbp.yaml", "recipe: mnist-mlp", "recipe: mnist", "curves.linbp-mnist-mlp: no 'mnist' in recipes"),
        ("params/linbp.yaml", "adversary: {kind: pgd, eps: 8, step: 1, steps: 10}",
         "checkpoint: {file: x.pt, sha256: abc}", "recipes.robust.checkpoint.sha256: "),
        ("params/linbp.yaml", "  linbp-sim-attack:", "  linbp-resnet50:",
         "simulations.linbp-resnet50: is also in models"),
        ("params/linbp.yaml", "linbp-mlp: {", '"x; touch y": {',
         r"models.x; touch y.\[key\]: string should match pattern"),
        ("params/linbp.yaml", "network: mlp,", 'network: "$(touch y)",',
         r"models.linbp-mlp: no '\$\(touch y\)' in networks"),
        ("params/linbp.yaml", "start_eps: 8, steps", "start_eps: 8, start: none, steps",
         "start_eps: has no effect unless start is uniform"),
        ("params/gaat.yaml",
         "fgsm: {norm: linf, eps: 8, step: 8, steps: [1], start: none, gradients: {plain: 1}}  # (ours)",
         "fgsm: {norm: linf, eps: 8, step: 8, steps: [1], start: none, gradients: {plain: 20}}",
         "several restarts are all the same without a random start"),
        ("params/attack-bnn.yaml", "space: normalised, clip_start: true,", "reading: as_coded, clip_start: true,",
         "fgsm: .*reading: has no effect unless norm is l2"),
        ("params/attack-bnn.yaml", "loss: margin, gradients: {plain: 1}}", "rho: 0.1, gradients: {plain: 1}}",
         "pgd_margin: .*rho: has no effect unless gradients is njs or prop1"),
        ("params/attack-bnn.yaml", "{name: adam, lr: 1.0e-3}", "{name: adam, lr: 1.0e-3, momentum: 0.9}",
         "momentum: has no effect unless name is sgd"),
        ("params/attack-bnn.yaml", "binary: {method: bc}", "binary: {method: bc, beta_scale: 1.1}",
         "beta_scale: has no effect unless method is md-tanh-s or gd-tanh"),
        ("params/attack-bnn.yaml", "gamma: 0.2}", "gamma: 0.2, warmup: 0.1}",
         "warmup: has no effect unless kind is warmup_cosine"),
        ("params/attack-bnn.yaml", "{attack: deepfool, eps: 8,", "{attack: deepfool, restarts: 2, eps: 8,",
         "restarts: has no effect unless attack is"),
        ("params/gaat.yaml", "kind: pgd, eps: 8, step: 1, steps: 10}",
         "kind: pgd, eps: 8, step: 1, steps: 10, hessian: matrix}",
         "hessian: has no effect unless kind is gaat"),
        ("params/scales/quick.yaml", "judge: companions", "judge: maybe", "quick.yaml: judge: .* 'none'"),
        ("params/scales/quick.yaml", "mlp: {}", "mlp: {", "quick.yaml:.*: not YAML"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(project, capsys, file, old, new, line):
    change(project / file, old, new)
    assert main(["check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    with pytest.raises(InputError, match=line):
        raise InputError(captured.err)


def test_an_unknown_model_is_named(project):
    with pytest.raises(InputError, match="no model 'linbp-vgg'; there is: linbp-vgg16"):
        config.load_run("linbp-vgg", config.load_settings())


def test_all_is_well_as_committed(project):
    assert main(["check"]) == 0


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", "1.0e-05"])
def test_small_numbers_survive_the_override_of_an_experiment(project, text):
    file = project / "params" / "gaat.yaml"
    before = config.load_paper("gaat").recipes
    apply_overrides(str(file), [f"recipes.rat.optimizer.weight_decay={text}"])
    after = config.load_paper("gaat").recipes
    assert after["rat"].optimizer.weight_decay == 1e-5
    assert {name for name in before if after[name] != before[name]} == {"rat"}  # no anchor carries it on


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-2.5E3", -2500.0),
        (".5", 0.5),
        ("10", 10),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1e", "1e"),
    ],
)
def test_yaml_reads_numbers_and_booleans_as_1_2_does(text, value):
    found = config.parse_yaml(f"x: {text}", "text")["x"]
    assert found == value
    assert type(found) is type(value)


def test_a_scale_is_laid_over_the_paper(project):
    run = config.load_run("gaat-mnist-rat", config.load_settings())
    paper = config.load_paper("gaat").recipes["rat-mnist"]
    assert run.training.epochs == 3
    assert (run.training.length, run.training.schedule) == (paper.length, paper.schedule)
    assert config.merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_attacks_are_values(project):
    entry = config.load_paper("attack-bnn").evaluations["cifar10"].attacks["pgd_l2"]
    again = config.AttackSpec.model_validate(
        config.parse_yaml(yaml.safe_dump(entry.spec.model_dump(mode="json")), "dump")
    )
    assert again == entry.spec
    assert hash(again) == hash(entry.spec)
