"""The copy of the project that benchmarks/torture.py breaks, and what has to be true of it afterwards."""

import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from advgrad.config import load_yaml
from advgrad.provenance import file_md5
from tests.project import environment

MODEL = "linbp-lenet5"
RESULTS, WEIGHTS = Path("reports/smoke"), Path("models", MODEL, "weights.safetensors")
OUTCOME = RESULTS / f"outcomes/linbp/mnist/{MODEL}.safetensors"
PACK, OBJECTS, STORE = Path("data/mnist.safetensors"), Path(".dvc/cache/files/md5"), Path("mlflow.db")
REPRO = ("-m", "advgrad.cli", "repro")
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # the command, and the stages that it has to make
    "fetch": ((*REPRO, "fetch@mnist"), ("fetch@mnist",)),
    "train": ((*REPRO, f"train@{MODEL}"), (f"train@{MODEL}",)),
    "attack": ((*REPRO, f"attack@{MODEL}"), (f"attack@{MODEL}",)),
    "tables": ((*REPRO, "tables@linbp"), ("tables@linbp",)),
    "archive": (("-m", "advgrad.cli", "archive", "create", "--out", "dist/archive.tar.gz"), ()),
    "lock": ((*REPRO, f"attack@{MODEL}", "attack@linbp-mlp"), (f"attack@{MODEL}", "attack@linbp-mlp")),
}
UNSAID = re.compile(  # what is of one run, not a result, and temporary files, which nothing reads
    r"(\.git|\.advgrad|\.snakemake|mlartifacts|\.dvc/tmp|\.dvc/cache/runs)/.*|mlflow\.db.*"
    r"|(.*/)?(__pycache__/.*|\.[^/]+\.part|tmp\w*|\.[\w-]{22}\.tmp)|data/\.[^/]+-[^/]+/.*"
)
LIMIT = 600  # seconds for any command


class Broken(Exception):
    """Why a round was not survived."""


@dataclass(kw_only=True)
class Bench:
    """The unbroken run in `base`, and the copy of it that a round breaks."""

    base: Path
    work: Path
    rng: random.Random = field(default_factory=random.Random)
    other: bool = False  # whether the fault may have made other results
    seconds: dict[str, float] = field(default_factory=dict)  # of the unbroken command, as far as it was needed
    tail: dict[str, float] = field(default_factory=dict)  # of that, after the last stage
    whole: dict[str, str] = field(default_factory=dict)  # path -> hash, in the unbroken run
    hashes: dict[tuple[int, ...], str] = field(default_factory=dict)  # of a file of this node, time and size

    def fresh(self, name: str) -> None:
        """The work folder as the unbroken run left it, less what the command makes."""
        for child in self.work.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        subprocess.run(["cp", "-a", f"{self.base}/.", str(self.work)], check=True)
        self.hashes.clear()
        self.whole = self.whole or self.found()
        stages, text = load_yaml(self.base / "dvc.lock")["stages"], (self.work / "dvc.lock").read_text()
        for stage in COMMANDS[name][1]:
            for out in stages[stage]["outs"]:
                path, md5 = self.work / out["path"], out["md5"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                (self.work / OBJECTS / md5[:2] / md5[2:]).unlink(missing_ok=True)
                before, entry, after = text.partition(f"\n  {stage}:\n")
                text = before + entry + after.replace(md5, "f" * 32, 1)
        (self.work / "dvc.lock").write_text(text)
        if not COMMANDS[name][1]:
            shutil.rmtree(self.work / "dist")
        shutil.rmtree(self.work / ".dvc/cache/runs")

    def start(self, name: str, **more: str) -> "subprocess.Popen[str]":
        """The command, in a session of its own; what it says is one text."""
        return subprocess.Popen(
            [sys.executable, *COMMANDS[name][0]], cwd=self.work, text=True, start_new_session=True,
            env=environment(self.work) | {"ADVGRAD_DATA_MIRROR": str(self.base / "data")} | more,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip

    def unbroken(self, name: str) -> None:
        """What the command takes, which also shows that a round without a fault gives the unbroken bytes."""
        if name not in self.seconds:
            self.fresh(name)
            begun, process = time.monotonic(), self.start(name)
            stamped(self, process)
            last = time.monotonic()
            ended(process, 0)
            self.seconds[name], self.tail[name] = time.monotonic() - begun, time.monotonic() - last
            self.compare()
            say(f"{name}: {self.seconds[name]:.0f} s without a fault")

    def found(self) -> dict[str, str]:
        """path -> hash of the files that are results or parameters, or DVC's objects."""
        files = {file.relative_to(self.work).as_posix(): file for file in self.work.rglob("*") if file.is_file()}
        return {path: self.hashed(file) for path, file in files.items() if not UNSAID.fullmatch(path)}

    def hashed(self, file: Path) -> str:
        facts = file.stat()
        key = facts.st_ino, facts.st_mtime_ns, facts.st_size
        if key not in self.hashes:
            self.hashes[key] = file_md5(file)
        return self.hashes[key]

    def lost(self) -> int:
        """Bytes of files that are not as in the unbroken run."""
        now = self.found()
        return sum((self.base / path).stat().st_size for path, md5 in self.whole.items() if now.get(path) != md5)

    def compare(self, allowed: dict[str, str] | None = None) -> None:
        """Broken: a file differs. allowed: those of before the fault, which may be there, and checkpoints; dvc.lock
        may be of before the fault or of after it, or name some of the stages."""
        now = self.found()
        wrong = {path for path in now if now[path] != self.whole.get(path)}
        if allowed is None:
            wrong |= self.whole.keys() - now.keys()
        else:
            wrong = {p for p in wrong if now[p] != allowed.get(p) and not p.startswith("checkpoints/")}
            for path in [path for path in wrong if path.endswith("dvc.lock")]:
                there, known = (load_yaml(folder / path)["stages"].keys() for folder in (self.work, self.base))
                wrong -= {path} if there == known else set()
        if wrong:
            raise Broken(f"{len(wrong)} files differ: {', '.join(sorted(wrong)[:3])}")


def stamped(bench: Bench, process: "subprocess.Popen[str]") -> None:
    """Wait until the stages are done, and DVC is about to record them; or the command has ended."""
    while process.poll() is None and not [*(bench.work / ".advgrad/done").glob(f"attack@{MODEL}.*")]:
        time.sleep(0.02)


def ended(process: "subprocess.Popen[str]", *statuses: int) -> str:
    """What it said. Broken: a traceback, no end in time, or an exit status that is not one of those given."""
    try:
        said = process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise Broken(f"no end within {LIMIT} s") from None
    if "Traceback" in said:
        raise Broken(f"a traceback\n{said[-4000:]}")
    if statuses and process.returncode not in statuses:
        raise Broken(f"exit status {process.returncode}\n{said[-4000:]}")
    if process.returncode > 0 and not said.strip():
        raise Broken(f"exit status {process.returncode} without a word")
    return said


def shell(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
