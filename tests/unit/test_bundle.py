"""The bundle: what goes along, what is refused, and that the packages are those that the far machine lacks."""

import ast
import hashlib
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from advgrad.data.checksums import ARRAY_NAMES
from advgrad.data.datasets import DATASETS
from advgrad.data.pack import read_pack, write_pack
from advgrad.data.sources import fetch_info
from advgrad.errors import InputError
from advgrad.visits import bundle as module
from advgrad.visits import packages, plan, unpack
from advgrad.visits.bundle import bundle, needed, runs_bba
from advgrad.visits.parts import read_parts, write_parts, write_tar
from tests.contract.fetch_fixtures import arrays_of, described, kept_of

PROJECT = Path(__file__).parents[2]


def git(root, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small repository with the project's parameters; plan and packages are stand-ins."""
    root = tmp_path / "repository"
    root.mkdir()
    shutil.copytree(PROJECT / "params", root / "params")
    shutil.copy(PROJECT / "params.yaml", root)
    write(root, {
        "src/advgrad/cli.py": "import os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['ADVGRAD_DATA_MIRROR'])\n",
        "src/advgrad/__init__.py": "", "stages/run": "#!/bin/sh\n", "tests/test_a.py": "", "dvc.lock": "stages: {}\n",
        "reports/specs/a.yaml": "a: 1\n", "reports/tables/a.csv": "1\n", "reports/cells/a.csv": "1\n",
        "reports/metrics/a.json": "1\n", "reports/findings/a.md": "1\n", "archives/smoke/dvc.lock": "another scale\n",
        ".gitignore": "/data/\n/.advgrad/\n",
    })  # fmt: skip
    (root / "stages" / "run").chmod(0o755)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "all")
    write(root, {"archives/gpu/dvc.lock": "known\n", "archives/gpu/models/a/weights.packed": "bits"})  # not committed

    def at_commit(root, scale):
        head = git(root, "rev-parse", "--short=12", "HEAD").strip()
        return plan.Plan(commit=head, scale=scale, stages={})

    def install(root, folder, *, python, platform, names):
        write(folder, {"packages/yaml/__init__.py": "", "packages/python.txt": f"{python} {platform}\n"})
        if "packages-numba" in names:
            write(folder, {"packages-numba/numba/__init__.py": ""})

    monkeypatch.setattr(plan, "at_commit", at_commit)
    monkeypatch.setattr(packages, "install", install)
    monkeypatch.setattr(module, "runs_bba", lambda root, scale: scale == "gpu")
    return root


def with_data(root, name, monkeypatch):
    arrays = kept_of(name)
    monkeypatch.setitem(DATASETS, name, described(name, arrays_of(name)))
    write_pack(root / "data" / f"{name}.safetensors", arrays)
    return arrays


def make(root, out, *datasets, scale="gpu", **more):
    lines = []
    return bundle(root, scale, out, datasets=datasets, say=lines.append, **more), lines


def test_what_goes_along(root, tmp_path):
    out = tmp_path / "dist" / "bundle"
    files, lines = make(root, out)
    assert sorted(files) == sorted(out.iterdir())
    assert [path.name for path in files] == ["unpack.py", "source.part", "packages.part", "packages-numba.part"]
    assert (out / "unpack.py").read_bytes() == Path(unpack.__file__).read_bytes()
    commit, scale, _ = read_parts([out], kind="bundle")
    assert (commit, scale) == (git(root, "rev-parse", "--short=12", "HEAD").strip(), "gpu")
    assert "scale gpu" in lines[-1]
    into = unpack.unpack([out], tmp_path / "far")
    tracked = set(git(root, "ls-files").split())
    left_out = {
        name for name in tracked if re.match(r"archives/|tests/|reports/(tables|cells|findings|metrics)/", name)
    }
    known = {"archives/gpu/dvc.lock", "archives/gpu/models/a/weights.packed"}
    made = {".advgrad/plan.json", ".advgrad/bundle.json", "advgrad", "packages/yaml/__init__.py", "packages/python.txt",
            "packages-numba/numba/__init__.py"}  # fmt: skip
    there = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    assert there == tracked - left_out | known | made
    assert plan.from_json((into / plan.PLAN).read_text()) == plan.Plan(commit=commit, scale="gpu", stages={})
    same = tracked - left_out - {"params.yaml"}
    assert all((into / name).read_bytes() == (root / name).read_bytes() for name in same)
    assert (into / "stages" / "run").stat().st_mode & stat.S_IXUSR
    assert not (into / "dvc.lock").stat().st_mode & stat.S_IXUSR


def test_params_change_in_the_scale_only(root, tmp_path):
    make(root, tmp_path / "out", scale="smoke")
    into = unpack.unpack([tmp_path / "out"], tmp_path / "far")
    old, new = ((folder / "params.yaml").read_bytes().splitlines(keepends=True) for folder in (root, into))
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][0].replace(b"quick", b"smoke", 1) == changed[0][1]
    assert changed[0][1].startswith(b"scale: smoke ")


def test_equal_commits_give_equal_parts(root, tmp_path):
    first, second = (make(root, tmp_path / name)[0] for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_launcher(root, tmp_path):
    make(root, tmp_path / "out")
    into = unpack.unpack([tmp_path / "out"], tmp_path / "far away")
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "python3").symlink_to(sys.executable)
    (tmp_path / "link").symlink_to(into)
    plain = {"PATH": f"{bin}:{os.environ['PATH']}", "CDPATH": str(tmp_path)}

    def call(command, **more):
        done = subprocess.run(
            [command, "run", "a b"], cwd=tmp_path, env=plain | more, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    for command in (into / "advgrad", "far away/advgrad"):
        assert call(command) == f"['run', 'a b'] {into} {into}/mirror"
    assert call(into / "advgrad", ADVGRAD_DATA_MIRROR="/mine") == f"['run', 'a b'] {into} /mine"
    assert not list(into.rglob("__pycache__"))


def test_the_data_that_models_need_go_along_unasked(root, tmp_path, monkeypatch):
    with_data(root, "mnist", monkeypatch)
    train = plan.Stage(
        name="train@a", cmd="x", paper="gaat", code={}, inputs={"data/mnist.safetensors": "fetch@mnist"}, params={},
        outs=("models/a/weights.safetensors",), memory=1.0, work={},
    )  # fmt: skip
    found = plan.Plan(commit="0" * 12, scale="gpu", stages={train.name: train})
    assert needed(found) == ["mnist"]
    monkeypatch.setattr(plan, "at_commit", lambda *_: found)
    bundle(root, "gpu", tmp_path / "out", say=lambda _: None)
    assert (tmp_path / "out" / "data-mnist.part").is_file()
    (root / "data" / "mnist.safetensors").unlink()
    with pytest.raises(InputError, match="dvc repro fetch@mnist"):
        bundle(root, "gpu", tmp_path / "other", say=lambda _: None)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_data_arrive_where_the_ordinary_fetch_reads_them(name, root, tmp_path, monkeypatch):
    arrays = with_data(root, name, monkeypatch)
    files, lines = make(root, tmp_path / "out", name, part_limit=8000)
    assert all(path.stat().st_size <= 8000 for path in files if path.suffix == ".part")
    into = unpack.unpack([tmp_path / "out"], tmp_path / "far")
    assert [path.name for path in (into / "mirror" / name).iterdir()] == [f"{name}.sheets.tar"]
    pack = into / "data" / f"{name}.safetensors"
    assert fetch_info(DATASETS[name], pack, into / "mirror", 1, lines.append, ()) == "mirror"
    assert all((read_pack(pack)[key] == arrays[key]).all() for key in ARRAY_NAMES)
    assert pack.read_bytes() == (root / "data" / pack.name).read_bytes()


def test_sheets_are_made_once_for_the_same_arrays(root, tmp_path, monkeypatch):
    with_data(root, "mnist", monkeypatch)
    first, _ = make(root, tmp_path / "a", "mnist")

    def never(*_):
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(module.sheets, "write_sheets", never)
        second, _ = make(root, tmp_path / "b", "mnist")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        other = dict.fromkeys(ARRAY_NAMES, "0" * 64)
        monkeypatch.setitem(DATASETS, "mnist", described("mnist", arrays_of("mnist")))
        object.__setattr__(DATASETS["mnist"], "arrays", other)
        with pytest.raises(InputError, match="damaged or another version"):
            make(root, tmp_path / "c", "mnist")


def test_parts_of_an_earlier_commit_go_and_results_stay(root, tmp_path):
    out = tmp_path / "out"
    write_parts(out, "data-mnist", b"x", kind="bundle", commit="older", scale="gpu", limit=9000)
    write_parts(out, "visit-1", b"x", kind="results", commit="older", scale="gpu", limit=9000)
    (out / "mine.part").write_text("x")
    make(root, out)
    make(root, out)
    names = {path.name for path in out.iterdir()}
    assert names == {"unpack.py", "source.part", "packages.part", "packages-numba.part", "visit-1.part", "mine.part"}


def test_numba_stays_at_home_where_no_attack_needs_it(root, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "runs_bba", lambda root, scale: False)
    files, _ = make(root, tmp_path / "out")
    assert [path.name for path in files] == ["unpack.py", "source.part", "packages.part"]
    into = unpack.unpack([tmp_path / "out"], tmp_path / "far")
    assert (into / "packages").is_dir()
    assert not (into / "packages-numba").exists()


def test_who_needs_numba():
    assert runs_bba(Path(__file__).parents[2], "gpu")
    assert not runs_bba(Path(__file__).parents[2], "smoke")


def refused(root, tmp_path, *datasets, scale="gpu"):
    out = tmp_path / "refused"
    with pytest.raises(InputError) as error:
        make(root, out, *datasets, scale=scale)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("change", ["edited", "staged", "deleted", "another parameter"])
def test_only_what_is_committed_travels(change, root, tmp_path):
    file = root / ("params.yaml" if change == "another parameter" else "src/advgrad/cli.py")
    if change == "deleted":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("seed: 0", "seed: 1") + "# more\n")
    if change == "staged":
        git(root, "add", "-A")
    assert f"{file.relative_to(root)}: differs from the last commit" in refused(root, tmp_path)


def test_results_and_the_active_scale_may_differ_from_the_commit(root, tmp_path):
    plan.set_scale(root, "smoke")
    write(root, {"dvc.lock": "new\n", "reports/tables/a.csv": "2\n", "archives/smoke/dvc.lock": "2\n", "notes": "x"})
    make(root, tmp_path / "out")
    into = unpack.unpack([tmp_path / "out"], tmp_path / "far")
    assert (into / "dvc.lock").read_text() == "stages: {}\n"
    assert "\nscale: gpu " in (into / "params.yaml").read_text()
    assert not (into / "notes").exists()


def test_other_refusals(root, tmp_path, monkeypatch):
    assert "cifar10.safetensors: no such file; `dvc repro fetch@cifar10`" in refused(root, tmp_path, "cifar10")
    assert "no data set 'svhn'; known: mnist" in refused(root, tmp_path, "svhn")
    assert "huge" in refused(root, tmp_path, scale="huge")
    with_data(root, "mnist", monkeypatch)
    pack = root / "data" / "mnist.safetensors"
    pack.write_bytes(pack.read_bytes()[:-1])
    assert "mnist.safetensors: not a whole safetensors file" in refused(root, tmp_path, "mnist")
    plain = tmp_path / "plain"
    plain.mkdir()
    assert "not a Git repository" in refused(plain, tmp_path)


# Packages

THERE = {"torch", "torchvision", "numpy", "safetensors", "PIL"}  # on the other machine
HOME = {"dvc", "dvc_data", "mlflow"}  # imported inside functions that do not run there
LAZY = {"foolbox", "numba", "pyautoattack"}  # imported by the attacks that need them
UNUSED = {"setuptools"}  # foolbox asks for it and does not import it; torch brings one
NOT_THERE = (
    *("advgrad.compare", "advgrad.pipeline", "advgrad.showcase", "advgrad.submission", "advgrad.tables"),
    *("advgrad.tracking.store", "advgrad.visits.bundle", "advgrad.visits.collect", "advgrad.visits.restore"),
    "advgrad.visits.packages",
)
DISTRIBUTION = {"yaml": "pyyaml"}


def imports(file):
    """(module, at the top level of the file) of each import, the ones that only a type checker reads left out."""
    code = ast.parse(file.read_text())
    for node in ast.walk(code):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    top = set(map(id, code.body))
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from ((name, id(node) in top) for name in names)


def file_of(name):
    path = PROJECT.joinpath("src", *name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def third_party():
    """(package, at top level) of all that the stages and `advgrad run` import, at any depth."""
    stages = ("fetch", "train", "attack", "analyse", "curves", "simulate")
    waiting = [PROJECT / "stages" / f"{name}.py" for name in stages]
    waiting += [file_of("advgrad.cli"), file_of("advgrad.visits.run")]
    seen, found = set(), set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name, top in imports(file):
            if not name.startswith("advgrad"):
                found.add((name.split(".")[0], top))
            elif not name.startswith(NOT_THERE) and (inner := file_of(name)):
                waiting.append(inner)
    assert len(seen) > 40
    return {(name, top) for name, top in found if name not in sys.stdlib_module_names}


def with_requirements(names):
    """The distributions and all that they need, of themselves and without extras, less what is there."""
    done = set()
    while names:
        name = names.pop()
        done.add(name)
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                names |= {canonicalize_name(needed.name)} - done
    return done


def test_packages_are_what_is_imported_and_what_that_needs():
    found = third_party()
    assert {name for name, top in found if name in HOME and top} == set()
    names = {name for name, _ in found} - THERE - HOME
    assert {name for name, top in found if name in LAZY and top} == set(), "they take seconds"
    needed = with_requirements({DISTRIBUTION.get(name, name) for name in names}) - THERE - UNUSED
    assert needed == {*packages.PACKAGES, *packages.NUMBA}
    assert with_requirements({"numba"}) - THERE == set(packages.NUMBA)


GATE = """
import importlib.metadata, sys
allowed = {*sys.stdlib_module_names, "advgrad", *sys.argv[1].split()}
class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"not there: {name}", name=name)
sys.meta_path.insert(0, Gate())
"""
COMMAND = """
import advgrad.cli, advgrad.commands, advgrad.config, advgrad.stage, advgrad.visits.run
advgrad.commands.check()
"""
PEERS = """
from advgrad.attacks import peers
from advgrad.config import Peer
from advgrad.errors import InputError
for attack in ("apgd-dlr", "square", "deepfool"):
    peers._attack(Peer(attack=attack, eps=8, steps=1), 0, 0)
try:
    peers._attack(Peer(attack="bba", eps=8, steps=1), 0, 0)
    raise SystemExit("numba is not needed")
except InputError as error:
    print(error)
allowed |= {"numba", "llvmlite"}
peers._attack(Peer(attack="bba", eps=8, steps=1), 0, 0)
"""
ONLY = {"annotated_types", "markdown_it", "mdurl", "pydantic", "pydantic_core", "pygments", "yaml", "_yaml", "rich",
        "typing_extensions", "typing_inspection", *THERE}  # fmt: skip
LIBRARIES = {"certifi", "charset_normalizer", "eagerpy", "foolbox", "git", "gitdb", "idna", "pyautoattack", "requests",
             "scipy", "smmap", "torchgen", "urllib3"}  # fmt: skip


def passes_the_gate(code, modules):
    """What the code prints where there are only these modules and no Git."""
    command = [sys.executable, "-c", GATE + code, " ".join(modules)]
    env = {**os.environ, "PATH": ""}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_command_imports_with_nothing_but_these_packages():
    """Also what they import in turn, and what the reading of sources above may have missed."""
    passes_the_gate(COMMAND, ONLY)


def test_peers_import_with_nothing_but_these_packages():
    said = passes_the_gate(PEERS, ONLY | LIBRARIES)
    assert said == "peer bba: needs the package numba, which cannot be imported here\n"


def test_the_lock_is_cut_at_its_entries():
    lock = (PROJECT / "requirements.lock").read_text()
    cut = packages.subset(lock).splitlines()
    pins = [line.split("==")[0] for line in cut if not line.startswith(" ")]
    assert pins == list(packages.PACKAGES)
    assert [line.split("==")[0] for line in packages.subset(lock, packages.NUMBA).splitlines() if line[0] != " "] == [
        *packages.NUMBA
    ]
    assert set(cut) <= {line.removesuffix(" \\") for line in lock.splitlines()} | set(lock.splitlines())
    for name in packages.PACKAGES:
        entry = lock[lock.index(f"\n{name}==") + 1 :]
        entry = entry[: re.search(r"\n(?=\S)", entry).start()]
        wanted = re.findall(r"sha256:\w{64}", entry)
        assert wanted
        assert [digest for digest in wanted if digest not in " ".join(cut)] == []
    assert len(re.findall("sha256:", " ".join(cut))) < len(re.findall("sha256:", lock)) / 4
    with pytest.raises(InputError, match=r"requirements.lock: does not pin yaml with hashes"):
        packages.subset(lock, ("yaml",))


UV = """#!{python}
import pathlib, sys
pathlib.Path("{log}").write_text("\\n".join(sys.argv[1:]))
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
names = ["rich/a.py", "rich/__pycache__/a.pyc", "pyautoattack/examples/a.pt", "pyautoattack/a.py"]
names += ["rich-1.dist-info/RECORD", "rich-1.dist-info/METADATA", "bin/x"]
for name in names:
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).touch()
sys.exit({status})
"""


def fake_uv(root, log, status):
    uv = root / ".tools" / "bin" / "uv"
    uv.parent.mkdir(parents=True, exist_ok=True)
    uv.write_text(UV.format(python=sys.executable, log=log, status=status))
    uv.chmod(0o755)
    shutil.copy(PROJECT / "requirements.lock", root)


@pytest.mark.parametrize("name", packages.FOLDERS)
def test_what_uv_is_asked_for(name, tmp_path):
    fake_uv(tmp_path, tmp_path / "log", 0)
    packages.install(tmp_path, tmp_path / "work", python="3.13", platform="aarch64-manylinux_2_28", names=(name,))
    asked = (tmp_path / "log").read_text().split("\n")
    for option in ("--require-hashes", "--no-deps"):
        assert option in asked
    pairs = {"--python-version": "3.13", "--python-platform": "aarch64-manylinux_2_28", "--only-binary": ":all:"}
    assert {option: asked[asked.index(option) + 1] for option in pairs} == pairs
    pinned = Path(asked[asked.index("-r") + 1])
    assert pinned.read_text() == packages.subset((PROJECT / "requirements.lock").read_text(), packages.FOLDERS[name])
    made = tmp_path / "work" / name
    assert asked[asked.index("--target") + 1] == str(made)
    there = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()} - {"python.txt"}
    assert there == {"rich/a.py", "rich-1.dist-info/METADATA", "pyautoattack/a.py"}
    assert (tmp_path / "work" / unpack.MADE_FOR).read_text() == "3.13 aarch64-manylinux_2_28\n"


def test_no_uv_and_uv_that_fails(tmp_path, monkeypatch):
    fake_uv(tmp_path, tmp_path / "log", "'no wheel\\nfor pyyaml'")
    with pytest.raises(InputError, match=r"^packages for Python 3.9 on linux: no wheel for pyyaml$"):
        packages.install(tmp_path, tmp_path / "work", python="3.9", platform="linux")
    (tmp_path / ".tools" / "bin" / "uv").unlink()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="no uv on the PATH; `make` puts it there"):
        packages.install(tmp_path, tmp_path / "work", python="3.9", platform="linux")


def test_the_payload_is_the_same_whoever_packs_it(tmp_path):
    write(tmp_path / "a", {"x": "1", "b/y": "2"})
    (tmp_path / "a" / "x").chmod(0o600)
    os.utime(tmp_path / "a" / "x", (5, 5))
    payload = write_tar(tmp_path / "a.tar.xz", module._files(tmp_path / "a"))
    with tarfile.open(payload) as tar:
        told = [(m.name, m.mode, m.uid, m.uname, m.mtime) for m in tar]
    assert told == [("b/y", 0o644, 0, "", 0), ("x", 0o644, 0, "", 0)]
    assert (
        hashlib.sha256(payload.read_bytes()).digest()
        == hashlib.sha256(write_tar(tmp_path / "b", module._files(tmp_path / "a")).read_bytes()).digest()
    )


def test_source_only_for_a_machine_that_has_the_rest(root, tmp_path, monkeypatch):
    make(root, tmp_path / "out")
    files, _ = make(root, tmp_path / "out", source_only=True)
    assert [path.name for path in files] == ["unpack.py", "source.part"]
    assert (tmp_path / "out" / "packages.part").is_file(), "of the same commit: it stays"
    monkeypatch.setattr(packages, "install", lambda *_, **__: pytest.fail("nothing to install"))
    files, _ = make(root, tmp_path / "new", source_only=True)
    assert (unpack.unpack([tmp_path / "new"], tmp_path / "far") / "src").is_dir()
