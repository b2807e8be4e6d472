"""The Python packages that `advgrad run` and its stages need beside PyTorch, for another machine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from advgrad import config
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.visits.unpack import MADE_FOR

# What is imported on the way of `advgrad run` and by its stages, and what these packages say they need; less what the
# other machine has: torch, torchvision, numpy, safetensors, pillow and torch's own setuptools
# (tests/unit/test_bundle.py computes this list). typing-extensions comes with torch, but pydantic needs a newer one
# than torch is content with. From certifi on they are there for foolbox, which imports all of them.
PACKAGES = (
    "annotated-types", "markdown-it-py", "mdurl", "pyautoattack", "pydantic", "pydantic-core", "pygments", "pyyaml",
    "rich", "scipy", "typing-extensions", "typing-inspection",
    "certifi", "charset-normalizer", "eagerpy", "foolbox", "gitdb", "gitpython", "idna", "requests", "smmap", "urllib3",
)  # fmt: skip
NUMBA = ("llvmlite", "numba")  # for BBA only, and larger than all the others
FOLDERS = {"packages": PACKAGES, "packages-numba": NUMBA}  # sections of a bundle, and folders of the other machine
_EXAMPLES = ("pyautoattack/examples",)  # a trained network of 44 MB
_NEEDLESS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")  # of *.dist-info


def needs_numba(evaluation: config.Evaluation) -> bool:
    """Whether BBA is among the attacks, on one image at least."""
    return any(peer.attack == "bba" and peer.images != 0 for peer in evaluation.peers.values())


def subset(lock: str, names: tuple[str, ...] = PACKAGES) -> str:
    """The entries of a requirements file with hashes that pin these packages. InputError: one is not pinned."""
    found = []
    for name in names:
        entry = re.search(rf"(?m)^{re.escape(name)}==.*(?:\n[ \t]+--hash=.*)+", lock)
        if entry is None:
            raise InputError(f"requirements.lock: does not pin {name} with hashes; `make lock` writes it anew")
        found.append(entry[0].rstrip("\\ ") + "\n")
    return "".join(found)


def install(root: Path, folder: Path, *, python: str, platform: str, names: tuple[str, ...] = tuple(FOLDERS)) -> None:
    """Packages for that Python and platform, at the locked versions and hashes, into folder/NAME; names: of FOLDERS.

    InputError: no uv, or a package cannot be had.
    """
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    for name in names:
        pinned, packages = folder / f"{name}.txt", folder / name
        write_text(pinned, subset(lock, FOLDERS[name]))
        command = [
            _uv(root), "pip", "install", "--quiet", "--no-config", "--python", sys.executable, "--target",
            str(packages), "--python-version", python, "--python-platform", platform,
            "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(pinned),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            said = " ".join(done.stderr.split()) or "uv failed"
            raise InputError(f"{name} for Python {python} on {platform}: {said}")
        _strip(packages)
    write_text(folder / MADE_FOR, f"{python} {platform}\n")


def _uv(root: Path) -> str:
    own = root / ".tools" / "bin" / "uv"
    found = str(own.resolve()) if own.is_file() else shutil.which("uv")
    if found is None:
        raise InputError(f"{own}: no such file, and no uv on the PATH; `make` puts it there")
    return found


def _strip(packages: Path) -> None:
    """Remove what only an installer reads, and examples."""
    needless = [path for name in _NEEDLESS for path in packages.glob(f"*.dist-info/{name}")]
    for path in [*needless, packages / ".lock"]:
        path.unlink(missing_ok=True)
    examples = [packages / name for name in _EXAMPLES]
    for path in [packages / "bin", *examples, *packages.rglob("__pycache__")]:
        shutil.rmtree(path, ignore_errors=True)
