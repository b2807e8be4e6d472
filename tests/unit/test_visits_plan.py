"""The plan is DVC's resolved DAG, of the working tree or of a commit, and travels as JSON."""

from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.visits import plan as plans
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
