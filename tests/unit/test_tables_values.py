"""Numbers at dotted paths: keys with dots in them, lists, and one clear line for every mistake."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advgrad.errors import InputError
from advgrad.tables.values import Leaf, Tree, leaf, look_up, number, read_parameters, read_values

ROOT = Path(__file__).parents[2]
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
        ({"a": {"n": 1.5, "x": {"value": 1}}}, "a.n: must be a number of images, not 1.5"),
        ({"a": {"n": True, "x": {"value": 1}}}, "a.n: must be a number of images, not True"),
        ({"a": {"n": 1, "x": {"value": 1, "n": -1}}}, 'a.x: must be {"value": x}'),
        ({"a": {"n": 1, "x": 1}}, 'a.x: must be {"value": x}'),
        ({"a": {"n": 1, "x": {"value": "1"}}}, 'a.x: must be {"value": x}'),
        ({"a": {"n": 1, "x": {"value": 1, "mean": 2}}}, 'a.x: must be {"value": x}'),
        ({"a": {"n": 1, "x": {"low": 1, "high": 2}}}, 'a.x: must be {"value": x}'),
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


def test_a_paper_s_parameters_are_those_before_any_scale(tmp_path: Path):
    tree = read_parameters(ROOT, "attack-bnn")
    assert tree.file == ROOT / "params" / "attack_bnn.yaml"
    assert [number(tree, f"evaluations.cifar10.attacks.pgd_linf.{key}") for key in ("eps", "step", "steps.0")] == [
        8, 2, 20,
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"attack_bnn.yaml: no 'models.x'; models has: bnn-"):
        number(tree, "models.x")
    with pytest.raises(InputError, match=r"params/attack_bnn.yaml: no such file"):
        read_parameters(tmp_path, "attack-bnn")


def test_files_of_analyses(tmp_path: Path):
    file = tmp_path / "m" / "values.json"
    with pytest.raises(InputError, match=r"m/values.json: no such file"):
        read_values(tmp_path, "m")
    file.parent.mkdir()
    for text, says in (("[", "not JSON"), ("[]", "must be one JSON object")):
        file.write_text(text)
        with pytest.raises(InputError, match=rf"m/values.json: {says}"):
            read_values(tmp_path, "m")
    file.write_text(json.dumps(CONTENT))
    assert read_values(tmp_path, "m") == Tree(file=file, content=CONTENT)
