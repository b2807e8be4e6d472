"""Records, and numbers at dotted paths: which outcome is asked for, keys with dots, a clear line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from advgrad.errors import InputError
from advgrad.tables.records import Leaf, Record, Tree, file_of, leaf, look_up, number, read_record, read_tree

CONTENT = {
    "attacks": {"pgd": {"eps": 8.0, "steps": [1, 5], "loss": "ce"}, "pgd_beta0": {"1": 3}, "pgd_beta0.1": {"eps": 4}},
    "cost": {"n": 7, "fgsm/plain": {"forward": {"value": 2}}},
    "iprop": {"n": 3, "pgd_njs": {"1.275": {"value": 0.5, "low": 0.25, "high": 0.75}, "1": {"275": 1}}},
}
TREE = Tree(file=Path("f.json"), content=CONTENT)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("attacks.pgd.eps", 8.0),
        ("attacks.pgd.steps.1", 5),
        ("attacks.pgd_beta0.1.eps", 4),  # the longest key that fits
        ("cost.fgsm/plain.forward", {"value": 2}),
        ("iprop.pgd_njs.1.275", CONTENT["iprop"]["pgd_njs"]["1.275"]),
    ],
)
def test_paths(path: str, found: object):
    assert look_up(TREE, path) == found


def paths(node: object) -> list[tuple[str, object]]:
    if not isinstance(node, dict):
        return [("", node)]
    return [(f".{key}{path}", end) for key, below in node.items() for path, end in paths(below)]


KEYS = st.text("ab/_-", min_size=1, max_size=4)


@given(st.recursive(st.integers(), lambda below: st.dictionaries(KEYS, below, max_size=4), max_leaves=12))
def test_every_end_of_a_tree_is_found_by_its_path(content: object):
    tree = Tree(file=Path("f"), content={"top": content})
    for path, end in paths({"top": content}):
        assert look_up(tree, path.removeprefix(".")) == end


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("attack.pgd", "f.json: no 'attack.pgd'; the file has: attacks, cost, iprop"),
        ("attacks.pgd.epz", "f.json: no 'attacks.pgd.epz'; attacks.pgd has: eps, loss, steps"),
        ("attacks.pgd.steps.2", "f.json: no 'attacks.pgd.steps.2'; attacks.pgd.steps has: 0, 1"),
        ("attacks.pgd.eps.x", "f.json: no 'attacks.pgd.eps.x'; attacks.pgd.eps has: nothing below it"),
        ("attacks.pg", "f.json: no 'attacks.pg'; attacks has: pgd, pgd_beta0, pgd_beta0.1"),
    ],
)
def test_paths_that_lead_nowhere(path: str, says: str):
    with pytest.raises(InputError) as caught:
        look_up(TREE, path)
    assert str(caught.value) == says


def test_leaves_with_the_images_of_their_group():
    assert leaf(TREE, "iprop.pgd_njs.1.275") == (Leaf(value=0.5, low=0.25, high=0.75), 3)
    assert leaf(TREE, "cost.fgsm/plain.forward") == (Leaf(value=2), 7)


def test_a_group_whose_name_holds_dots():
    tree = Tree(file=Path("f"), content={"bp": {"n": 1}, "bp-x0.1": {"n": 7, "last": {"loss": {"value": 2.5}}}})
    assert leaf(tree, "bp-x0.1.last.loss") == (Leaf(value=2.5), 7)


def test_a_leaf_may_rest_on_fewer_than_its_group():
    robust = {"pgd": {"value": 0.5}, "autoattack": {"value": 0.25, "n": 16}}
    tree = Tree(file=Path("f"), content={"bp": {"n": 200, "robust": robust}})
    assert leaf(tree, "bp.robust.pgd")[1] == 200
    assert leaf(tree, "bp.robust.autoattack") == (Leaf(value=0.25, n=16), 16)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a": {"x": {"value": 1}}}, "no 'a.n'; a has: x"),
        ({"a": {"n": 1.5, "x": {"value": 1}}}, "a.n: input should be a valid integer"),
        ({"a": {"n": 1, "x": {"value": 1, "n": -1}}}, "a.x: n: input should be greater"),
        ({"a": {"n": 1, "x": 1}}, "a.x: (top level): input should be a valid dictionary"),
        ({"a": {"n": 1, "x": {"value": "1"}}}, "a.x: value: input should be a valid number"),
        ({"a": {"n": 1, "x": {"value": 1, "mean": 2}}}, "a.x: mean: unknown key"),
        ({"a": {"n": 1, "x": {"low": 1, "high": 2}}}, "a.x: value: field required"),
    ],
)
def test_something_else_than_a_leaf(content: dict, says: str):
    with pytest.raises(InputError) as caught:
        leaf(Tree(file=Path("f.json"), content=content), "a.x")
    assert str(caught.value).startswith(f"f.json: {says}")


def test_parameters_are_numbers():
    assert number(TREE, "attacks.pgd.steps.0") == 1
    for path in ("attacks.pgd.loss", "attacks.pgd", "attacks.pgd.steps"):
        with pytest.raises(InputError, match=rf"f.json: {path}: must be a number, not "):
            number(TREE, path)


def test_a_file_is_found_by_its_name_wherever_it_lies(tmp_path: Path):
    for place in ("gaat/mnist/m.json", "gaat/cifar10/m-best.json"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(json.dumps(CONTENT))
    assert file_of(tmp_path, "m") == tmp_path / "gaat/mnist/m.json"
    assert read_tree(tmp_path, "m-best") == Tree(file=tmp_path / "gaat/cifar10/m-best.json", content=CONTENT)
    with pytest.raises(InputError, match=rf"{tmp_path}: no best.json in it"):
        file_of(tmp_path, "best")
    for text, says in (("[", "not JSON"), ("[]", r"\(top level\): input should be a valid dictionary")):
        (tmp_path / "gaat/mnist/m.json").write_text(text)
        with pytest.raises(InputError, match=rf"mnist/m.json: {says}"):
            read_tree(tmp_path, "m")


ARRAYS = {"index": np.arange(5), "clean": np.ones(5, np.uint8), "pgd/plain": np.ones((2, 1, 5), np.uint8)}


def record(folder: Path, arrays: dict[str, np.ndarray] = ARRAYS, **told: object) -> Record:
    """m's, with what its JSON file tells. Attacks without runs have one step count."""
    runs = {name: {"steps": [10]} for name in arrays if "/" in name}
    save_file(arrays, folder / "m.safetensors")
    (folder / "m.json").write_text(json.dumps({"runs": runs, **told}))
    return read_record(folder, "m")


def test_a_record_and_the_model_that_it_is_of(tmp_path: Path):
    halvings = np.array([[3, -1], [5, 8]], np.int16)
    known = record(tmp_path, {**ARRAYS, "halvings/pgd/plain": halvings})
    assert (list(known.outcomes), known.steps) == (["pgd/plain"], {"pgd/plain": (10,), "halvings/pgd/plain": (10,)})
    assert (known.halvings["pgd/plain"] == halvings).all() and known.index is not None
    assert (known.summary.model, known.summary.training.precision, known.summary.training.origin) == (
        "m",
        "float32",
        "",
    )
    training = {"precision": "bf16", "origin": "robustbench", "seconds": 3}
    known = record(tmp_path, model="rat", training=training)
    assert (known.summary.model, known.summary.training.precision) == ("rat", "bf16")


@pytest.mark.parametrize(
    ("arrays", "told", "says"),
    [
        ({"index": np.arange(3)}, {}, "m.safetensors: no 'clean'; has: index"),
        (
            {},
            {"runs": {"pgd/plain": {"steps": [1, 2]}}},
            r"pgd/plain: shape \(2, 1, 5\), wants \(restarts, 2, images\)",
        ),
        ({}, {"runs": {}}, r"pgd/plain: shape \(2, 1, 5\)"),
        ({"clean": np.ones(4, np.uint8)}, {}, r"pgd/plain: shape .* at most 4 images"),
        ({"halvings/pgd/plain": np.zeros((6, 2), np.int16)}, {}, r"halvings/pgd/plain: shape \(6, 2\)"),
        ({"halvings/pgd/plain": np.zeros(2, np.int16)}, {}, r"halvings/pgd/plain: shape \(2,\)"),
        ({}, {"runs": 3}, "m.json: runs: input should be a valid dictionary"),
        ({}, {"runs": {"pgd/plain": 3}}, "m.json: runs.pgd/plain: input should be a valid dictionary"),
        ({}, {"model": 3}, "m.json: model: input should be a valid string, not 3"),
        *(({}, {"training": x}, "m.json: training") for x in ({"precision": 16}, {"origin": None}, "bf16", [])),
    ],
)
def test_records_at_odds(tmp_path: Path, arrays: dict, told: dict, says: str):
    with pytest.raises(InputError, match=says) as caught:
        record(tmp_path, arrays if list(arrays) == ["index"] else {**ARRAYS, **arrays}, **told)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_record(tmp_path: Path):
    record(tmp_path)
    (tmp_path / "m.safetensors").write_text("[")
    with pytest.raises(InputError, match=r"m\.safetensors: not a safetensors file"):
        read_record(tmp_path, "m")
