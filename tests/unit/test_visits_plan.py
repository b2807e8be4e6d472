"""The plan is DVC's resolved DAG, of the working tree or of a commit, and travels as JSON."""

from dataclasses import replace
from pathlib import Path

import pytest

from advgrad import config
from advgrad.errors import InputError
from advgrad.visits import cost
from advgrad.visits import plan as plans
from advgrad.visits.bundle import needed
from tests.unit import visits_toy as toy


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.clone(tmp_path_factory.mktemp("clone"))


def test_stages_of_all_kinds_makers_first(clone: Path) -> None:
    plan = plans.at_commit(clone, "smoke", costs=False)
    seen: set[str] = set()
    for name, stage in plan.stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(name)
    assert {stage.kind for stage in plan.stages.values()} == set(plans.KINDS)
    attack = plan.stages["attack@bnn-mlp-wq"]
    assert attack.inputs == {
        "data/mnist.safetensors": "fetch@mnist",
        "models/bnn-mlp-wq/weights.safetensors": "train@bnn-mlp-wq",
    }
    transfer = plan.stages["transfer@bnn-mlp-wq-transfer"]
    assert transfer.inputs == {**attack.inputs, "models/bnn-mlp-ref/weights.safetensors": "train@bnn-mlp-ref"}
    assert transfer.outs == (
        "results/bnn-mlp-wq-transfer/metrics.json",
        "results/bnn-mlp-wq-transfer/outcomes.safetensors",
    )
    assert plan.stages["further@bnn-mlp-wq-further"].inputs == attack.inputs
    assert plan.stages["analyse@bnn-mlp-wq"].inputs == attack.inputs
    assert "src/advgrad/analysis" in plan.stages["analyse@bnn-mlp-wq"].code
    fork = plan.stages["fork@gaat-resnet50-dat"]
    assert fork.inputs == {
        "data/cifar10.safetensors": "fetch@cifar10",
        "models/gaat-resnet50-std/weights.safetensors": "train@gaat-resnet50-std",
    }
    assert fork.outs == tuple(f"models/gaat-resnet50-dat/{file}" for file in (
        "curve.csv", "metrics.json", "weights.safetensors"
    ))  # fmt: skip
    weights = {"models/gaat-resnet50-dat/weights.safetensors": "fork@gaat-resnet50-dat"}
    for name in ("attack@gaat-resnet50-dat", "further@gaat-resnet50-dat-best"):
        assert weights.items() <= plan.stages[name].inputs.items()
    curves, simulation = plan.stages["curves@linbp-mnist-mlp"], plan.stages["simulate@linbp-sim-attack"]
    assert curves.inputs == {"data/mnist.safetensors": "fetch@mnist"}
    assert simulation.inputs == {}
    assert curves.outs == ("analyses/linbp-mnist-mlp/curve.csv", "analyses/linbp-mnist-mlp/values.json")
    assert simulation.outs == ("analyses/linbp-sim-attack/curve.csv", "analyses/linbp-sim-attack/values.json")
    assert (curves.paper, simulation.paper) == ("linbp", "linbp")
    assert curves.memory >= 1
    assert simulation.memory == 0
    assert attack.params["params/scales/smoke.yaml"]
    assert attack.paper == "attack_bnn"
    assert plans.from_json(plans.to_json(plan)) == plan


def test_every_model_has_one_training_and_a_fork_costs_its_own_part(clone: Path) -> None:
    settings, plan = config.Settings(scale="gpu"), plans.at_commit(clone, "gpu", costs=False)
    for paper in config.PAPERS:
        for name, model in config.load_paper(paper, root=clone).models.items():
            found = [kind for kind in plans.TRAININGS if f"{kind}@{name}" in plan.stages]
            assert found == ["fork" if model.fork else "train"]
    fork = plan.stages["fork@gaat-resnet50-dat"]
    assert plans._work(fork, settings, clone) == cost.work(config.load_run(fork.item, settings, clone), "train")
    both = plans._work(plan.stages["train@gaat-resnet50-rat"], settings, clone)
    assert 0 < plans._work(fork, settings, clone)["flop"] < 0.51 * both["flop"]


def test_cifar100_travels_for_all_that_is_trained_on_it(clone: Path) -> None:
    plan = plans.at_commit(clone, "gpu", costs=False)
    assert needed(plan) == ["mnist", "cifar10", "cifar100"]
    readers = {name for name, stage in plan.stages.items() if "fetch@cifar100" in stage.inputs.values()}
    for name in ("gaat100-resnet18-rat", "gaat100-resnet50-gaat"):
        assert {f"train@{name}", f"attack@{name}", f"further@{name}-best"} <= readers
    gaat = {name: stage for name, stage in plan.stages.items() if stage.paper == "gaat"}
    assert needed(replace(plan, stages=gaat)) == ["mnist", "cifar10", "cifar100"]


def test_a_scale_changes_parameters_only(clone: Path) -> None:
    smoke, gpu = (plans.at_commit(clone, scale, costs=False) for scale in ("smoke", "gpu"))
    assert smoke.commit == gpu.commit
    for name, stage in smoke.stages.items():
        assert (stage.code, stage.inputs, stage.outs) == (gpu.stages[name].code, gpu.stages[name].inputs, stage.outs)
        assert (stage.params == gpu.stages[name].params) == (stage.kind == "fetch")


def test_only_what_decides_results_makes_a_tree_dirty(clone: Path) -> None:
    clean = plans.resolve(clone, costs=False)
    plans.set_scale(clone, "smoke")
    (clone / "README.md").write_text("other words\n")
    other = plans.resolve(clone, costs=False)
    assert (other.commit, other.scale) == (clean.commit, "smoke")
    file = clone / "src/advgrad/attacks/loop.py"
    file.write_text(file.read_text() + "\n# a change\n")
    assert plans.resolve(clone, costs=False).commit == f"{clean.commit}+dirty"
    assert plans.at_commit(clone, "smoke", costs=False).stages == other.stages
    toy.git(clone, "checkout", ".")


def test_set_scale_changes_one_line(clone: Path) -> None:
    before = (clone / "params.yaml").read_text().split("\n")
    plans.set_scale(clone, "paper")
    after = (clone / "params.yaml").read_text().split("\n")
    apart = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(apart) == 1
    assert apart[0][1] == apart[0][0].replace("quick", "paper", 1)
    toy.git(clone, "checkout", "params.yaml")


def test_bad_input_is_one_line(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scale 'huge'"):
        plans.at_commit(clone, "huge", costs=False)
    with pytest.raises(InputError, match="not a Git repository"):
        plans.at_commit(tmp_path, "smoke", costs=False)
    with pytest.raises(InputError, match="not a plan"):
        plans.from_json("{}")
