"""Parts are checked against their own entries and this commit; then the archive has them, with its tables."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from advgrad import config
from advgrad.errors import InputError
from advgrad.figures.spec import analyses
from advgrad.tables.files import report_files
from advgrad.visits import archive, collect, payload
from advgrad.visits import plan as plans
from advgrad.visits.ledger import Done
from advgrad.visits.payload import Brought
from advgrad.visits.plan import Plan
from advgrad.visits.reports import rendered
from advgrad.visits.weights import pack
from tests.unit import visits_toy as toy

A, B = "bnn-mlp-ref", "bnn-mlp-wq"
TRUNK, FORK = "gaat-resnet50-std", "gaat-resnet50-dat"
TRAINED = {"seconds": 1.235, "epochs": 2, "gib": 0.5, "machine": "a toy"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.clone(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def resolved(home: Path) -> Plan:
    return plans.at_commit(home, "smoke", costs=False)


@pytest.fixture
def plan(resolved: Plan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan, resolved once for all tests."""
    monkeypatch.setattr(plans, "at_commit", lambda *_, **__: resolved)
    return resolved


@pytest.fixture
def root(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for archives and spool; commits come from the clone, whose dvc.lock does not know the toy's data."""
    checkout = plans.checkout
    monkeypatch.setattr(plans, "checkout", lambda _, scale: checkout(home, scale))
    monkeypatch.setattr(collect, "rendered", lambda *_: {})  # seconds for each collect
    return tmp_path / "root"


@pytest.fixture
def take(root: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Write the visits' parts and collect them; the lines said."""

    def taken(*visits: Brought) -> list[str]:
        parts = [toy.write(tmp_path / f"parts-{number}", brought) for number, brought in enumerate(visits)]
        lines: list[str] = []
        assert collect.collect(root, [path for written in parts for path in written], lines.append) == 0
        return lines

    return taken


def test_a_visit_comes_home(home: Path, resolved: Plan, tmp_path: Path):
    """Nothing replaced, in a real repository: from the folder of parts to the archive, and nothing else changed."""
    (home / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    brought = toy.visit(resolved, {A: 0, B: 1}, weights=[B])
    toy.write(tmp_path / "parts", brought)
    lines: list[str] = []
    assert collect.collect(home, [tmp_path / "parts"], lines.append) == 0
    found = archive.read(home, "smoke")
    assert found.stages == brought.stages
    assert {path: found.files[path] for path in brought.files} == brought.files
    assert lines[0] == f"train@{A}: 1.2 s on a toy"
    wanted = sum(stage.kind != "fetch" for stage in resolved.stages.values())
    summary, _, missing = lines[-1].partition("; missing: ")
    assert summary == f"archives/smoke: 4 of {wanted} stages"
    names = missing.split(", ")
    assert names[0] == "bnn-resnet18-ref"
    assert {name for name in names if A in name or f"{B}-t" in name} == {
        f"further@{A}-further", f"analyse@{A}", f"transfer@{B}-transfer"
    }  # fmt: skip
    after = ("attack", "further", "transfer", "analyse")
    assert not [name for name in names if name.startswith(after) and "mlp" not in name]  # of untrained models: unsaid
    assert {"curves@linbp-mnist-mlp", "simulate@linbp-sim-attack"} < set(names)
    assert b"scale: smoke" in found.files["params.yaml"]
    assert found.files["params/attack_bnn.yaml"] == (home / "params/attack_bnn.yaml").read_bytes()
    assert found.files["params/scales/smoke.yaml"] == (home / "params/scales/smoke.yaml").read_bytes()
    assert json.loads(found.files["reports/measured.json"]) == {"smoke": dict.fromkeys((A, B), TRAINED)}


FURTHER = [f"further@{A}-further", f"transfer@{B}-transfer", f"analyse@{A}"]


def test_tables_say_what_is_missing_and_are_the_stage_s_when_nothing_is(
    root: Path, plan: Plan, take: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(collect, "rendered", rendered)
    take(toy.visit(plan, {A: 0}))
    folder = root / "archives/smoke"
    table = (folder / "reports/tables/attack-bnn-mnist.md").read_text()
    assert "not run yet at scale smoke" in table
    assert "not run yet at scale smoke" in (folder / "reports/findings/gaat.md").read_text()
    assert "not run yet" in (folder / "reports/figures/attack-bnn-2.csv").read_text()
    models = [stage.item for stage in plan.stages.values() if stage.kind in plans.TRAININGS]
    others = ("further", "transfer", "analyse", "curves", "simulate")
    more = [name for name, stage in plan.stages.items() if stage.kind in others]
    assert set(FURTHER) < set(more)
    take(toy.visit(plan, dict.fromkeys(models, 3), more=more))
    wanted = report_files(
        toy.ROOT / "reports/specs",
        folder / "results",
        folder / "reports/measured.json",
        "smoke",
        config.load_scale("smoke", toy.ROOT).judge == "all",
        analyses=folder / "analyses",
        trainings=folder / "models",
        root=toy.ROOT,
    )  # (no reason for absent models: they would be an error)
    assert {path: (folder / "reports" / path).read_text() for path in wanted} == wanted
    assert not any("not run yet" in text for text in wanted.values())
    for kind, forms in (("figures", ("csv", "svg")), ("claims", ("csv", "md"))):
        specs = [file.stem for file in (toy.ROOT / "reports/specs" / kind).glob("*.yaml")]
        made = {path.name for path in (folder / "reports" / kind).iterdir()}
        assert specs
        assert made == {f"{spec}.{form}" for spec in specs for form in forms}
        assert not any("not run yet" in (folder / "reports" / kind / name).read_text() for name in made)
    assert "not run yet" not in (folder / "reports/findings/gaat.md").read_text()


def test_further_attacks_and_analyses_come_home(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0, B: 1}, more=FURTHER)
    lines = take(brought)
    assert [line.split(": ")[0] for line in lines[:-1]] == sorted(brought.stages, key=list(plan.stages).index)
    found = archive.read(root, "smoke")
    assert found.stages == brought.stages
    assert {path: found.files[path] for path in brought.files} == brought.files
    assert {f"analyses/{A}/values.json", f"analyses/{A}/sweep.csv", f"results/{B}-transfer/metrics.json"} <= set(
        found.files
    )
    assert json.loads(found.files["reports/measured.json"])["smoke"] == {
        A: TRAINED,
        B: TRAINED,
        f"{A} fgsm/plain": {"seconds": 0.012346, "machine": "a toy"},
    }
    assert len(take(brought)) == 1


CURVES, WALKS = "curves@linbp-mnist-mlp", "simulate@linbp-sim-attack"


def test_curves_and_simulations_come_home_and_are_shown(
    root: Path, plan: Plan, take: Callable, monkeypatch: pytest.MonkeyPatch
):
    """They read no weights: what models do leaves them alone."""
    monkeypatch.setattr(collect, "rendered", rendered)
    brought = toy.visit(plan, {A: 0}, more=[CURVES, WALKS])
    lines = take(brought)
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"train@{A}", f"attack@{A}", CURVES, WALKS]
    for name in (CURVES, WALKS):
        item = name.partition("@")[2]
        assert set(brought.stages[name].outs) == {f"analyses/{item}/curve.csv", f"analyses/{item}/values.json"}
    take(only(toy.visit(plan, {A: 5}), "train"))
    found = archive.read(root, "smoke")
    assert {CURVES, WALKS} < set(found.stages)
    assert f"attack@{A}" not in found.stages
    assert {path: found.files[path] for path in brought.files if path.startswith("analyses/")} == {
        path: content for path, content in brought.files.items() if path.startswith("analyses/")
    }
    shown = [figure for figure in toy.figures() if "linbp-mnist-mlp" in analyses(figure)]
    assert shown
    for figure in shown:
        points = found.files[f"reports/figures/{figure.name}.csv"].decode()
        assert "not run yet" in points or len(analyses(figure)) == 1
        assert any(line.split(",")[3] for line in points.splitlines()[1:]), "the toy's numbers are in it"


@pytest.mark.parametrize(
    ("model", "lost"),
    [(A, [f"attack@{A}", *FURTHER]), (B, [f"attack@{B}", f"transfer@{B}-transfer"])],
)
def test_all_that_read_other_weights_is_dropped(root: Path, plan: Plan, take: Callable, model: str, lost: list[str]):
    """The transfer reads two models' weights: it goes with either."""
    brought = toy.visit(plan, {A: 0, B: 1}, more=FURTHER)
    take(brought)
    lines = take(only(toy.visit(plan, {model: 5}), "train"))
    why = f"dropped, it read other weights than those of train@{model}"
    assert sorted(lines[1:-1]) == sorted(f"{name}: {why}" for name in lost)
    found = archive.read(root, "smoke")
    assert set(found.stages) == set(brought.stages) - set(lost)
    gone = {path for name in lost for path in brought.stages[name].outs}
    assert gone & {f"results/{B}-transfer/outcomes.safetensors"}
    assert not gone & found.files.keys()


def test_a_fork_comes_home_and_goes_with_its_trunk(root: Path, plan: Plan, take: Callable):
    """And with it all that read the fork's weights, though their names come before its own."""
    brought = toy.visit(plan, {TRUNK: 0, FORK: 1, A: 0}, more=[f"further@{FORK}-best"], weights=[TRUNK, FORK])
    take(brought)
    found = archive.read(root, "smoke")
    assert found.stages == brought.stages
    assert json.loads(found.files["reports/measured.json"])["smoke"] == dict.fromkeys((TRUNK, FORK, A), TRAINED)
    lines = take(only(toy.visit(plan, {TRUNK: 5}), "train"))
    assert [lines[1], *sorted(lines[2:-1])] == [
        f"fork@{FORK}: dropped, it read other weights than those of train@{TRUNK}",
        f"attack@{FORK}: dropped, it is here without the fork@{FORK}",
        f"attack@{TRUNK}: dropped, it read other weights than those of train@{TRUNK}",
        f"further@{FORK}-best: dropped, it is here without the fork@{FORK}",
    ]
    found = archive.read(root, "smoke")
    assert set(found.stages) == {f"train@{TRUNK}", f"train@{A}", f"attack@{A}"}
    assert not [path for path in found.files if FORK in path or path.endswith("packed")]
    missing = lines[-1].partition("; missing: ")[2].split(", ")
    assert FORK in missing
    assert f"attack@{FORK}" not in missing  # unsaid, as of any model that is not trained


def test_a_transfer_without_its_surrogate_is_dropped(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0, B: 1}, more=FURTHER)
    stages = {name: done for name, done in brought.stages.items() if name != f"train@{A}"}
    lost = set(brought.stages[f"train@{A}"].outs)
    lines = take(replace(brought, stages=stages, files={p: c for p, c in brought.files.items() if p not in lost}))
    assert f"transfer@{B}-transfer: dropped, it is here without the train@{A}" in lines
    assert set(archive.read(root, "smoke").stages) == {f"train@{B}", f"attack@{B}"}


def test_again_the_same_changes_nothing(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0}, weights=[A])
    take(brought)
    about = (root / "archives/smoke/archive.json").read_bytes()
    assert len(take(brought)) == 1
    assert (root / "archives/smoke/archive.json").read_bytes() == about


def faster(brought: Brought, **facts: object) -> Brought:
    return replace(
        brought, stages={n: replace(d, facts={**d.facts, "seconds": 1.0, **facts}) for n, d in brought.stages.items()}
    )


def test_repeated_with_the_same_bits(root: Path, plan: Plan, take: Callable):
    take(toy.visit(plan, {A: 0}, weights=[A]))
    lines = take(faster(toy.visit(plan, {A: 0})))
    assert lines[:2] == [f"{kind}@{A}: repeated, same bits (1.0 s on a toy)" for kind in ("train", "attack")]
    found = archive.read(root, "smoke")
    assert found.stages[f"train@{A}"].facts["seconds"] == 1.0
    assert f"models/{A}/weights.packed" in found.files  # those of the first time are the same
    take(faster(toy.visit(plan, {A: 0}, alone=False), seconds=9.0))
    assert archive.read(root, "smoke").stages[f"train@{A}"].facts["seconds"] == 1.0  # measured alone


def test_other_bits(root: Path, plan: Plan, take: Callable):
    take(toy.visit(plan, {A: 0, B: 0}, weights=[A]))
    lines = take(only(toy.visit(plan, {A: 5}), "train"))
    assert lines[:2] == [
        f"train@{A}: other bits than before on the same kind of machine (1.2 s on a toy)",
        f"attack@{A}: dropped, it read other weights than those of train@{A}",
    ]
    found = archive.read(root, "smoke")
    assert set(found.stages) == {f"train@{A}", f"train@{B}", f"attack@{B}"}
    assert not [path for path in found.files if path.startswith(f"results/{A}") or path.endswith("packed")]


def test_other_bits_on_another_machine(plan: Plan, take: Callable):
    take(toy.visit(plan, {A: 0}))
    lines = take(faster(toy.visit(plan, {A: 5}), fingerprint={"device": "toy", "torch": "3"}))
    assert lines[0].startswith(f"train@{A}: replaced, other bits on another kind of machine, torch: 3, not 2")
    assert lines[1].startswith(f"attack@{A}: replaced, made from other code, parameters or inputs")


def only(brought: Brought, kind: str) -> Brought:
    stages = {name: done for name, done in brought.stages.items() if name.startswith(f"{kind}@")}
    outs = {path for done in stages.values() for path in done.outs}
    return replace(brought, stages=stages, files={path: brought.files[path] for path in outs & brought.files.keys()})


def test_an_attack_needs_its_training(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0})
    assert take(only(brought, "attack"))[1] == f"attack@{A}: dropped, it is here without the train@{A}"
    assert archive.read(root, "smoke").stages == {}
    take(only(brought, "train"), only(brought, "attack"))  # two visits at once
    assert archive.read(root, "smoke").stages == brought.stages


def test_only_times_measured_alone_are_kept(root: Path, plan: Plan, take: Callable):
    take(toy.visit(plan, {A: 0}, alone=False))
    assert json.loads(archive.read(root, "smoke").files["reports/measured.json"]) == {"smoke": {}}


def test_what_was_there_and_is_of_another_commit(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0, B: 0})
    take(brought)
    found = archive.read(root, "smoke")

    def old(name: str, **fields: object) -> Done:
        return replace(found.stages[name], entry={**found.stages[name].entry, **fields})

    deps = found.stages[f"train@{A}"].entry["deps"]
    changed = [{**dep, "md5": "f" * 32} if dep["path"] == "stages/train.py" else dep for dep in deps]
    stages = {**found.stages, f"train@{A}": old(f"train@{A}", deps=changed)}
    stages[f"attack@{B}"] = old(f"attack@{B}", params={"params.yaml": {"seed": 9}})
    archive.write(root, replace(found, stages=stages))
    lines = take(only(toy.visit(plan, {B: 0}), "train"))
    assert sorted(lines[:-1]) == [
        f"attack@{B}: dropped, made at commit {plan.commit} with other parameters",
        f"train@{A}: kept, but made at commit {plan.commit} by other code; dvc would run it again",
    ]


def test_events_are_taken_once(root: Path, plan: Plan, take: Callable):
    events = {"1-a.jsonl": b"{}\n", "1-a.files/models/x/curve.csv": b"1", "2-b.jsonl": b"{}\n"}
    brought = replace(toy.visit(plan, {A: 0}), spool=events)
    spool = root / ".advgrad/spool"
    take(brought)
    assert {p.relative_to(spool).as_posix(): p.read_bytes() for p in spool.rglob("*") if p.is_file()} == events
    (spool / "1-a.jsonl").unlink()  # MLflow has it
    take(replace(brought, spool={**events, "3-c.jsonl": b"{}\n"}))
    assert sorted(path.name for path in spool.glob("*.jsonl")) == ["2-b.jsonl", "3-c.jsonl"]


def fails(root: Path, take: Callable, brought: Brought, says: str) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match=says) as error:
        take(brought)
    assert "\n" not in str(error.value)
    assert sorted(root.rglob("*")) == before


def test_parts_of_another_commit(root: Path, plan: Plan, take: Callable):
    brought = toy.visit(plan, {A: 0})
    older = "0123456789ab"
    take(replace(brought, commit=older))  # the same stages: what changed in between was prose
    name = f"train@{B}"
    odd = toy.visit(
        replace(plan, stages={**plan.stages, name: replace(plan.stages[name], params={"p": {"x": 1}})}), {B: 0}
    )
    fails(
        root, take, replace(odd, commit=older),
        f"visit-1.part: made at commit {older}; {name} has other code or parameters than this commit {plan.commit}: "
        f"check {older} out to collect it",
    )  # fmt: skip
    code = {**plan.stages[name].code, "stages/train.py": {"hash": "md5", "md5": "0" * 32, "size": 1}}
    odd = toy.visit(replace(plan, stages={**plan.stages, name: replace(plan.stages[name], code=code)}), {B: 0})
    fails(root, take, odd, f"{name} has other code")
    fails(root, take, replace(brought, commit=f"{older}+dirty"), "only results of a commit")
    fails(root, take, replace(brought, commit="unknown"), "only results of a commit")


def test_parts_of_another_scale(root: Path, plan: Plan, take: Callable, tmp_path: Path):
    ours, theirs = toy.visit(plan, {A: 0}), toy.visit(replace(plan, scale="gpu"), {B: 0})
    with pytest.raises(InputError, match=r"visit-1\.part: of scale gpu, wanted: smoke"):
        take(ours, theirs)
    with pytest.raises(InputError, match=r"visit-1\.part: of scale smoke, wanted: gpu"):
        collect.collect(root, toy.write(tmp_path / "parts", ours), print, scale="gpu")
    fails(root, take, replace(ours, scale="gpu"), f"train@{A}: of scale smoke, in a part of scale gpu")
    assert not root.exists()


def test_another_data_set(root: Path, plan: Plan, take: Callable):
    root.mkdir()
    out = "{path: data/mnist.safetensors, hash: md5, md5: abc, size: 1}"
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{fetch@mnist: {{cmd: x, outs: [{out}]}}}}\n")
    fails(root, take, toy.visit(plan, {A: 0}), f"train@{A} was made from another data/mnist.safetensors")
    take(toy.visit(plan, {A: 0}, data="abc"))


OUTCOMES = f"results/{A}/outcomes.safetensors"


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({f"files/{OUTCOMES}": None}, f"files/{OUTCOMES}: not there"),
        ({f"files/{OUTCOMES}": b"x"}, f"files/{OUTCOMES}: not what its entry says"),
        ({"files/models/x/metrics.json": b"{}"}, "files/models/x/metrics.json: not an output"),
        ({f"files/models/{A}/weights.safetensors": b"x"}, "weights.safetensors: not an output"),
        ({f"files/models/{A}/weights.packed": b"x"}, "weights.packed: packed weights"),
        (
            {f"files/models/{A}/weights.packed": pack(save({"w": np.ones(3)}))},
            "weights.packed: not what its entry says",
        ),
        ({"files/../x": b"x"}, "not a plain file with a relative path"),
        ({"/etc/x": b"x"}, "not a plain file with a relative path"),
        ({"spool/../../x.jsonl": b"x"}, "not a plain file with a relative path"),
        ({"spool/x.py": b"x"}, "spool/x.py: not a tracking event"),
        ({"notes": b"x"}, "holds more than"),
        ({"entries.json": b"{"}, "entries.json: not entries"),
        ({"entries.json": b'{"train@x": {"entry": {"outs": []}, "facts": {}}}'}, "entries.json: not entries"),
        ({"entries.json": None}, "entries.json: not entries"),
    ],
)
def test_a_visit_at_odds_with_itself(root: Path, plan: Plan, tmp_path: Path, held: dict[str, bytes | None], says: str):
    brought = toy.visit(plan, {A: 0})
    inside = {path: content for path, content in {**toy.members(brought), **held}.items() if content is not None}
    written = toy.write(tmp_path / "parts", brought, inside)
    with pytest.raises(InputError, match=says) as error:
        collect.collect(root, written, print)
    assert str(error.value).startswith("visit-1")
    assert not root.exists()


def test_outputs_outside_their_folders(root: Path, plan: Plan, tmp_path: Path):
    brought = toy.visit(plan, {A: 0})
    text = toy.members(brought)["entries.json"].replace(f'"results/{A}/metrics.json"'.encode(), b'"reports/x"')
    written = toy.write(tmp_path / "parts", brought, {**toy.members(brought), "entries.json": text})
    with pytest.raises(InputError, match="reports/x: outputs lie in models/NAME/, results/NAME/, analyses/NAME/"):
        collect.collect(root, written, print)


def test_parts_that_are_none(root: Path, plan: Plan, tmp_path: Path):
    written = toy.write(tmp_path / "parts", toy.visit(plan, {A: 0}), limit=1024)
    assert len(written) > 1
    with pytest.raises(InputError, match="missing"):
        payload.read(written[:-1])
    with pytest.raises(InputError, match="no such file"):
        payload.read([tmp_path / "nothing.part"])
    with pytest.raises(InputError, match=r"no \*\.part in this folder"):
        payload.read([tmp_path])
    written[0].write_bytes(written[0].read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        payload.read(written)
