"""Entries are those that DVC writes; what is finished follows from them."""

import copy
import json
from pathlib import Path

import pytest

from advgrad import provenance
from advgrad.errors import InputError
from advgrad.visits import ledger
from advgrad.visits import plan as plans
from advgrad.visits.ledger import Done

ROOT = Path(__file__).parents[2]
FACTS = {"commit": "0" * 12, "scale": "quick", "machine": "cpu", "seconds": 1.0, "alone": True, "fingerprint": {}}


@pytest.fixture(scope="module")
def plan() -> plans.Plan:
    return plans.resolve(ROOT, costs=False)


@pytest.fixture(scope="module")
def locked() -> dict:
    return provenance.read_lock(ROOT)["stages"]


def rebuilt(plan: plans.Plan, locked: dict, name: str) -> dict:
    """The entry from what a machine without DVC knows: the plan, and hashes of inputs and outputs."""
    stage, entry = plan.stages[name], locked[name]
    outs = {one["path"]: {"md5": one["md5"], "size": one["size"]} for one in entry["outs"]}
    inputs = {one["path"]: {"md5": one["md5"], "size": one["size"]} for one in entry["deps"]}
    return ledger.entry(stage, {path: inputs[path] for path in stage.inputs}, outs)


def test_entries_are_dvc_s_own(plan: plans.Plan, locked: dict) -> None:
    """dvc.lock was written by DVC; only code may have moved on since."""
    for name, stage in plan.stages.items():
        ours, theirs = rebuilt(plan, locked, name), copy.deepcopy(locked[name])
        for one in theirs["deps"]:
            one |= stage.code.get(one["path"], {})
        assert json.dumps(ours) == json.dumps(theirs), name  # order of keys and paths too


def test_folders_hash_as_dvc_hashes_them(plan: plans.Plan) -> None:
    code = {path: fields["md5"] for stage in plan.stages.values() for path, fields in stage.code.items()}
    assert any(md5.endswith(".dir") for md5 in code.values())
    assert {path: ledger.tree_md5(ROOT / path) for path in code} == code


def test_altered_code_is_named(plan: plans.Plan, tmp_path: Path) -> None:
    stage = plan.stages["fetch@mnist"]
    for path in stage.code:
        if (ROOT / path).is_dir():
            for file in (ROOT / path).rglob("*.py"):
                copy = tmp_path / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
        else:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    one = plans.Plan(commit=plan.commit, scale=plan.scale, stages={stage.name: stage})
    assert ledger.altered(tmp_path, one) == []
    (tmp_path / "src/advgrad/config/new.py").write_text("x = 1\n")
    (tmp_path / "stages/fetch.py").unlink()
    assert ledger.altered(tmp_path, one) == ["src/advgrad/config", "stages/fetch.py"]


def test_finished_means_same_command_parameters_code_and_inputs(plan: plans.Plan, locked: dict) -> None:
    names = ["fetch@mnist", "train@bnn-mlp-wq", "attack@bnn-mlp-wq"]
    known = {name: Done(entry=rebuilt(plan, locked, name), facts=FACTS) for name in names}
    assert ledger.finished(plan, known) == set(names)

    def changed(name: str, change) -> set[str]:
        entry = copy.deepcopy(known[name].entry)
        change(entry)
        return ledger.finished(plan, known | {name: Done(entry=entry, facts=FACTS)})

    train, attack = names[1:]
    assert changed(train, lambda entry: entry["params"]["params.yaml"].update(seed=1)) == {"fetch@mnist", attack}
    assert changed(train, lambda entry: entry.update(cmd="other")) == {"fetch@mnist", attack}
    code = next(i for i, dep in enumerate(known[train].entry["deps"]) if dep["path"] == "src/advgrad/training")
    assert changed(train, lambda entry: entry["deps"][code].update(md5="0")) == {"fetch@mnist", attack}
    out = next(i for i, o in enumerate(known[train].entry["outs"]) if o["path"].endswith("weights.safetensors"))
    assert changed(train, lambda entry: entry["outs"][out].update(md5="0")) == {"fetch@mnist", train}

    other_code = copy.deepcopy(known[train].entry)
    other_code["deps"][code]["md5"] = "0"
    lenient = known | {train: Done(entry=other_code, facts=FACTS)}
    assert ledger.finished(plan, lenient, code=False) == set(names)


def test_entries_are_kept(tmp_path: Path, plan: plans.Plan, locked: dict) -> None:
    assert ledger.read_entries(tmp_path) == {}
    known = {"fetch@mnist": Done(entry=rebuilt(plan, locked, "fetch@mnist"), facts=FACTS)}
    ledger.write_entries(tmp_path, known)
    assert ledger.read_entries(tmp_path) == known
    (tmp_path / ledger.ENTRIES).write_text("[1]")
    with pytest.raises(InputError, match=r"entries\.json"):
        ledger.read_entries(tmp_path)


def test_lacking_names_inputs_that_are_missing_or_others(tmp_path: Path, plan: plans.Plan, locked: dict) -> None:
    stage = plan.stages["attack@bnn-mlp-wq"]
    assert set(ledger.lacking(tmp_path, stage, {})) == set(stage.inputs)
    weights, data = (next(path for path in stage.inputs if path.startswith(start)) for start in ("models", "data"))
    (tmp_path / weights).parent.mkdir(parents=True)
    (tmp_path / weights).write_bytes(b"weights")
    entry = rebuilt(plan, locked, "train@bnn-mlp-wq")
    for out in entry["outs"]:
        if out["path"] == weights:
            out |= ledger.hashed(tmp_path / weights)
    known = {"train@bnn-mlp-wq": Done(entry=entry, facts=FACTS)}
    assert ledger.lacking(tmp_path, stage, known) == [data]
    (tmp_path / weights).write_bytes(b"Weights")
    assert set(ledger.lacking(tmp_path, stage, known)) == {data, weights}
