"""An archive is read as it was written, is whole or not there, and says what was changed in it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml, load_yaml

from advgrad.errors import InputError
from advgrad.visits import archive
from advgrad.visits.archive import Archive
from advgrad.visits.ledger import Done

ROOT = Path(__file__).parents[2]
ENTRY = {
    "cmd": "stages/run train a",
    "deps": [{"path": "x", "hash": "md5", "md5": "0" * 32, "size": 1}],
    "params": {"params.yaml": {"seed": 0}, "params/p.yaml": {"lr": 1e-05, "device": "off", "name": "1e-5"}},
    "outs": [{"path": "models/a/curve.csv", "hash": "md5", "md5": "1" * 32, "size": 2}],
}
FACTS = {"commit": "0123456789ab", "scale": "tiny", "seconds": 1.5, "machine": "a box — here", "alone": True}
STAGES = {name: Done(entry={**ENTRY, "cmd": name}, facts=FACTS) for name in ("train@b", "train@a")}
FILES = {"params.yaml": b"scale: tiny\n", "models/a/curve.csv": b"\x00\xff"}
TINY = Archive(scale="tiny", stages=STAGES, files=FILES)


def test_there_is_none_yet(tmp_path: Path):
    assert archive.read(tmp_path, "tiny") == Archive(scale="tiny")
    assert archive.scales(tmp_path) == []


def test_read_as_written(tmp_path: Path):
    archive.write(tmp_path, TINY)
    assert archive.read(tmp_path, "tiny") == TINY
    assert archive.scales(tmp_path) == ["tiny"]
    smaller = Archive(scale="tiny", stages={"train@a": STAGES["train@a"]}, files={"params.yaml": b""})
    archive.write(tmp_path, smaller)
    assert archive.read(tmp_path, "tiny") == smaller
    assert [path.name for path in (tmp_path / "archives").iterdir()] == ["tiny"]
    assert not (tmp_path / "archives/tiny/models").exists()


def test_the_lock_is_what_dvc_writes(tmp_path: Path):
    """The repository's own dvc.lock, which DVC wrote, comes out byte for byte; an entry with aliases without them."""
    locked = load_yaml(ROOT / "dvc.lock")["stages"]
    kept = {name: Done(entry=json.loads(json.dumps(entry)), facts=FACTS) for name, entry in locked.items()}
    archive.write(tmp_path, Archive(scale="tiny", stages=kept))
    written, own = ((root / "dvc.lock").read_text() for root in (tmp_path / "archives/tiny", ROOT))

    def entries(text: str) -> list[str]:
        return re.split(r"(?m)^(?=  \S)", text)

    plain = [entry for entry in entries(own) if "&id" not in entry]
    assert len(plain) > 200
    assert set(plain) <= set(entries(written))
    expanded = dumps_yaml(json.loads(json.dumps(load_yaml(ROOT / "dvc.lock"))))
    assert sorted(entries(written)) == sorted(entries(expanded))
    assert list(load_yaml(tmp_path / "archives/tiny/dvc.lock")["stages"]) == sorted(locked)


def test_same_archive_same_bytes(tmp_path: Path):
    reverse = Archive(scale="tiny", stages=dict(reversed(STAGES.items())), files=dict(reversed(FILES.items())))
    for root, this in (("a", TINY), ("b", reverse)):
        archive.write(tmp_path / root, this)
    for name in ("archive.json", "dvc.lock"):
        assert (tmp_path / "a/archives/tiny" / name).read_bytes() == (tmp_path / "b/archives/tiny" / name).read_bytes()


def damage(folder: Path, how: str) -> None:
    file = folder / "models/a/curve.csv"
    match how:
        case "changed":
            file.write_bytes(b"\x00\xfe")
        case "missing":
            file.unlink()
        case "more":
            (folder / "notes.txt").write_text("mine")
        case "no list":
            (folder / "archive.json").unlink()
        case "half a list":
            (folder / "archive.json").write_text('{"scale": ')
        case "another scale":
            text = (folder / "archive.json").read_text()
            (folder / "archive.json").write_text(text.replace('"scale": "tiny",\n  "stages"', '"scale": "x", "stages"'))
        case "another lock":
            (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("changed", "curve.csv: not what archive.json lists"),
        ("missing", "curve.csv: listed in archive.json, but not there"),
        ("more", "notes.txt: not listed"),
        ("no list", "archive.json: no such file"),
        ("half a list", "archive.json: not an archive's"),
        ("another scale", "archive.json: not an archive's of scale tiny"),
        ("another lock", "dvc.lock: not what archive.json lists"),
    ],
)
def test_changes_are_named(tmp_path: Path, how: str, says: str):
    archive.write(tmp_path, TINY)
    damage(tmp_path / "archives/tiny", how)
    with pytest.raises(InputError, match=says):
        archive.read(tmp_path, "tiny")


@pytest.mark.parametrize("at", range(1, 6))
def test_killed_at_any_step_it_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int):
    new = Archive(scale="tiny", stages=STAGES, files={**FILES, "params.yaml": b"new"})
    archive.write(tmp_path, TINY)
    step, rename, rmtree = iter(range(1, 100)), Path.rename, shutil.rmtree

    def killed_rename(self: Path, target: Path) -> Path:
        if next(step) == at:
            raise KeyboardInterrupt
        return rename(self, target)

    def killed_rmtree(*words: Path, **options: bool) -> None:
        if next(step) == at:
            raise KeyboardInterrupt
        rmtree(*words, **options)

    monkeypatch.setattr(Path, "rename", killed_rename)
    monkeypatch.setattr(shutil, "rmtree", killed_rmtree)
    with pytest.raises(KeyboardInterrupt):
        archive.write(tmp_path, new)
    monkeypatch.undo()
    assert archive.read(tmp_path, "tiny") == (new if at == 5 else TINY)
    archive.write(tmp_path, new)
    assert archive.read(tmp_path, "tiny") == new
    assert [path.name for path in (tmp_path / "archives").iterdir()] == ["tiny"]
