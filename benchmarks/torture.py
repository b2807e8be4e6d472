"""Whether any fault costs a result: python benchmarks/torture.py [--faults NAME ...] [--rounds N] [--seed S]

Faults are real ones, in a copy of the project at scale smoke: processes are killed, disks are full, files are damaged.
Each round starts from the results of an unbroken run less what the command in question makes, runs the command under
the fault, checks that nothing half-written is left, lifts the fault and runs the same command again. The round is
survived if every file then has the bytes of the unbroken run, and nobody saw a traceback. Bytes lost are those of files
that differ. The table is also written to reports/benchmarks/torture.csv; the exit status is 1 unless all survived.

--base keeps the unbroken run in a folder, for another call. The copy lies on a small tmpfs that no other process sees
(`unshare`); where that is not allowed, it lies in a folder, and faults that need a mount are skipped and named.
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from advgrad import config, determinism
from advgrad.config import load_yaml
from advgrad.errors import InputError
from advgrad.provenance import file_md5
from tests.project import ROOT, change, commit_all, copied, environment

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
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
UNSAID = re.compile(  # what is of one run, not a result, and temporary files, which nothing reads
    r"(\.git|\.advgrad|\.snakemake|mlartifacts|\.dvc/tmp|\.dvc/cache/runs)/.*|mlflow\.db.*"
    r"|(.*/)?(__pycache__/.*|\.[^/]+\.part|tmp\w*|\.[\w-]{22}\.tmp)|data/\.[^/]+-[^/]+/.*"
)
LIMIT = 600  # seconds for any command
RECIPE = "mnist-victim: {images: 2048, epochs: 40}"  # of the copy
MOUNTS = "TORTURE_MOUNTS"  # set inside the namespace


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


# Faults. Each breaks one round of a command, and lifts what the same command could not live with. It says what it did.


def kill(bench: Bench, name: str) -> str:
    """One signal at a random moment, to the command or, as a terminal or a power cut does, to all of its processes."""
    process, number = bench.start(name), bench.rng.choice(SIGNALS)
    if name == "lock":
        stamped(bench, process)
    moment = bench.rng.uniform(0, bench.tail[name] if name == "lock" else bench.seconds[name])
    time.sleep(moment)
    signalled(process, number, all_of_it=number == signal.SIGINT or bench.rng.random() < 0.5)
    ended(process)
    return f"{number.name} after {moment:.1f} s, exit status {process.returncode}"


def signalled(process: "subprocess.Popen[str]", number: int, *, all_of_it: bool = True) -> None:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        for member in [top, *(top.children(recursive=True) if all_of_it else ())]:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)


def full(bench: Bench, name: str) -> str:
    """The disk has little room left: 4 KiB to 2 MiB, or 64 MiB for data."""
    room, ballast = 2 ** bench.rng.uniform(12, 26 if name == "fetch" else 21), bench.work / ".git/ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(bench.work).free - int(room)))
    process = bench.start(name)
    try:
        said = ended(process)
        if process.returncode and "space left" not in said and "full" not in said:
            raise Broken(f"says no reason\n{said[-4000:]}")
    finally:
        ballast.unlink()
    return f"{room / 1024:.0f} KiB left, exit status {process.returncode}"


def read_only(place: Path, statuses: tuple[int, ...], bench: Bench, name: str) -> str:
    target = bench.work / place
    shell("mount", "--bind", target, target)
    try:
        shell("mount", "-o", "remount,bind,ro", target)
        process = bench.start(name)
        ended(process, *statuses)
    finally:
        shell("umount", target)
    return f"exit status {process.returncode}"


def twice(bench: Bench, name: str) -> str:
    """A second one, from the same moment to seconds later: it works, or says that it has to wait."""
    first = bench.start(name)
    time.sleep(bench.rng.uniform(0, bench.seconds[name] / 2))
    second = bench.start(name)
    for process in (first, second):
        ended(process, 0, 2)
    return f"exit statuses {first.returncode} and {second.returncode}"


def clock(bench: Bench, name: str) -> str:
    """Every file is from tomorrow, which is what a clock that was set back leaves, or from 1980."""
    when = bench.rng.choice([time.time() + 86400, 315532800])
    for file in bench.work.rglob("*"):
        os.utime(file, (when, when), follow_symlinks=False)
    ended(bench.start(name), 0)
    return f"files of {time.strftime('%Y-%m-%d', time.gmtime(when))}"


def memory(bench: Bench, name: str) -> str:
    """From a random moment of the stage on it gets no more address space than it has, or some MiB."""
    process, room = bench.start(name), bench.rng.choice([0, 1, 8]) * 2**20
    stage: psutil.Process | None = None
    with suppress(psutil.NoSuchProcess):
        while process.poll() is None and stage is None:
            time.sleep(0.02)
            members = psutil.Process(process.pid).children(recursive=True)
            stage = next((m for m in members if f"stages/{name}.py" in m.cmdline()[:2]), None)
        time.sleep(bench.rng.uniform(0, 8))
        if stage:
            limit = stage.memory_info().vms + room
            stage.rlimit(resource.RLIMIT_AS, (limit, limit))
    said = ended(process)
    if process.returncode and "memory" not in said:
        raise Broken(f"says no reason\n{said[-4000:]}")
    return f"{room >> 20} MiB more, exit status {process.returncode}"


def diverging(bench: Bench, name: str) -> str:
    """The rate explodes in the middle of a training: NaN or Inf."""
    scale, before = bench.work / "params/scales/smoke.yaml", (bench.work / "params/scales/smoke.yaml").read_bytes()
    rate = f"1.0e+{bench.rng.choice([12, 30])}"
    change(scale, RECIPE, RECIPE.replace("}", f", schedule: {{kind: step, milestones: [5], gamma: {rate}}}}}"))
    said = ended(bench.start(name), 1)
    scale.write_bytes(before)
    if not (line := re.search(r"error: .*epoch \d+, batch \d+.*", said)):
        raise Broken(f"names no epoch and batch\n{said[-4000:]}")
    if not (bench.work / "checkpoints" / MODEL / "state.safetensors").is_file():
        raise Broken("keeps no checkpoint")
    return line.group()


def damage(file: Path, rng: random.Random) -> str:
    """In place, as a bad disk or a transfer does."""
    content = file.read_bytes()
    at, kind = rng.randrange(len(content)), rng.choice(["a bit", "an end", "a block", "everything"])
    block = rng.randbytes(min(4096, len(content) - at))
    changed = {
        "a bit": content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        "an end": content[:at], "a block": content[:at] + block + content[at + len(block) :], "everything": b"",
    }  # fmt: skip
    file.chmod(0o644)
    file.write_bytes(changed[kind])
    return f"{file.name} lacks {kind}"


def corrupt(place: Path, bench: Bench, name: str) -> str:
    return damage(bench.work / place, bench.rng)


def corrupt_checkpoint(bench: Bench, name: str) -> str:
    """That of a training which was killed."""
    process, file = bench.start(name), bench.work / "checkpoints" / MODEL / "state.safetensors"
    while process.poll() is None and not file.is_file():
        time.sleep(0.02)
    signalled(process, signal.SIGKILL)
    ended(process)
    return damage(file, bench.rng)


def corrupt_object(bench: Bench, name: str) -> str:
    """The weights are only in DVC's cache, and that is damaged."""
    shutil.copy(bench.base / "dvc.lock", bench.work)
    shutil.copytree(bench.base / ".dvc/cache/runs", bench.work / ".dvc/cache/runs")
    md5 = load_yaml(bench.base / "dvc.lock")["stages"][f"train@{MODEL}"]["outs"][0]["md5"]
    target = bench.work / OBJECTS / md5[:2] / md5[2:]
    shutil.copy2(bench.base / OBJECTS / md5[:2] / md5[2:], target)
    said = damage(target, bench.rng)
    target.chmod(0o444)
    return said


def corrupt_text(pattern: str, bench: Bench, name: str) -> str:
    """A file that a person writes, which is mended afterwards. It may still say something."""
    file = bench.rng.choice(sorted(bench.work.glob(pattern)))
    before = file.read_bytes()
    said = damage(file, bench.rng)
    process = bench.start(name)
    told = ended(process, 0, 1, 2)
    file.write_bytes(before)
    bench.other = process.returncode == 0
    return f"{said}, exit status {process.returncode}: {told.strip().splitlines()[-1][:150]}"


def mlflow(kind: str, bench: Bench, name: str) -> str:
    """Results do not suffer; one line says what is not recorded."""
    store, more = bench.work / STORE, {}
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        if kind in ("down", "silent"):
            port = server.getsockname()[1] if kind == "silent" else 9
            more["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        elif kind == "damaged":
            damage(store, bench.rng)
        else:
            with closing(sqlite3.connect(store)) as database, database:
                database.execute("update alembic_version set version_num = 'ffffffffffff'")
        said = ended(bench.start(name, **more), 0)
    shutil.copy(bench.base / STORE, store)
    return re.sub(r"(?s).*(MLflow: .{,100}).*", r"\1", said) if "MLflow:" in said else "no word of it"


Fault = Callable[[Bench, str], str]
FAULTS: dict[str, tuple[int, str, Fault]] = {  # rounds, command, what breaks it
    **{f"kill-{name}": (8 + (name in ("train", "lock")), name, kill) for name in COMMANDS},
    **{f"disk-full-{name}": (2, name, full) for name in COMMANDS},
    "read-only-checkout": (1, "attack", partial(read_only, Path(), (2,))),
    "read-only-cache": (1, "train", partial(read_only, Path(".dvc/cache"), (0, 1, 2))),
    "read-only-mlflow": (1, "attack", partial(read_only, STORE, (0,))),
    "two-at-once": (2, "attack", twice),
    "clock": (2, "attack", clock),
    "memory-train": (3, "train", memory),
    "memory-attack": (3, "attack", memory),
    "loss-not-finite": (2, "train", diverging),
    "corrupt-checkpoint": (3, "train", corrupt_checkpoint),
    "corrupt-object": (2, "train", corrupt_object),
    "corrupt-data": (2, "train", partial(corrupt, PACK)),
    "corrupt-weights": (2, "attack", partial(corrupt, WEIGHTS)),
    "corrupt-outcome": (2, "tables", partial(corrupt, OUTCOME)),
    "corrupt-spec": (2, "tables", partial(corrupt_text, "reports/specs/tables/linbp/*.yaml")),
    "corrupt-parameters": (3, "train", partial(corrupt_text, "params/**/*.yaml")),
    "corrupt-dvc-yaml": (1, "train", partial(corrupt_text, "dvc.yaml")),
    **{f"mlflow-{kind}": (1, "attack", partial(mlflow, kind)) for kind in ("down", "silent", "newer", "damaged")},
}


def once(bench: Bench, fault: str) -> tuple[str, bool, int]:
    """What was done or went wrong, whether all is as in the unbroken run in the end, and the bytes that are not."""
    _, name, break_it = FAULTS[fault]
    try:
        bench.fresh(name)
        before, bench.other = bench.found(), False
        said = break_it(bench, name)
        if not bench.other:
            bench.compare(before)
        ended(bench.start(name), 0)
        bench.compare()
        with closing(sqlite3.connect(bench.work / STORE)) as database:
            if database.execute("pragma integrity_check").fetchone() != ("ok",):
                raise Broken("MLflow's store is damaged")
    except (Broken, InputError) as problem:
        return str(problem), False, bench.lost()
    return said, True, bench.lost()


def make(base: Path) -> None:
    """The unbroken run of LinBP, with a training and an attack long enough to be killed, and its commit."""
    copied(base)
    change(base / "src/advgrad/checkpoint.py", "EVERY = 15.0", "EVERY = 0.05")
    change(base / "params/scales/smoke.yaml", "mnist-victim: {images: 512, epochs: 1}", RECIPE)
    commit_all(base)
    for targets, statuses in ((["fetch@cifar100"], (0, 1)), (["tables@linbp"], (0,))):
        command = [sys.executable, *REPRO, *targets]
        status = subprocess.run(command, cwd=base, env=environment(base)).returncode
        if status not in statuses:
            sys.exit(f"the unbroken run fails with status {status}")
    shell("git", "-C", base, "rm", "-rq", "--cached", "reports/quick")  # an archive would want its lock, too
    (base / ".git/info/exclude").write_text("/reports/quick\n")
    commit_all(base)
    subprocess.run([sys.executable, *COMMANDS["archive"][0]], cwd=base, env=environment(base), check=True)


def report(rows: list[dict[str, Any]]) -> None:
    """The table, here and as a file, with the machine's kind; in the file the faults of other calls stay."""
    settings = config.load_settings(ROOT)
    determinism.prepare(settings.determinism)
    print_of = determinism.fingerprint(determinism.configure(settings), settings.determinism)
    file = ROOT / "reports/benchmarks/torture.csv"
    file.parent.mkdir(exist_ok=True)
    new = pd.DataFrame(rows).assign(cpu=print_of["cpu"], torch=print_of["torch"])
    old = pd.read_csv(file) if file.is_file() else new[:0]  # of faults that another call tried
    pd.concat([old.query("fault not in @new.fault"), new]).to_csv(file, index=False, lineterminator="\n")
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        sys.stdout.write("{:<22} {:>8} {:>8} {:>10} {:>8}\n".format(*row.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=FAULTS, metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--rounds", type=int, help="of each fault; default: the table in the source, 50 kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="folder of the unbroken run; made if it is not there")
    options = parser.parse_args()
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if MOUNTS not in os.environ and subprocess.run([*apart, "true"], capture_output=True).returncode == 0:
        os.environ[MOUNTS] = "1"
        os.execvp(apart[0], [*apart, sys.executable, "-m", "benchmarks.torture", *sys.argv[1:]])
    rows = list[dict[str, Any]]()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        base, work = (options.base or scratch / "base").resolve(), scratch / "work"
        if not base.exists():
            make(base)
        work.mkdir()
        if MOUNTS in os.environ:
            shell("mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", work)
            stack.callback(shell, "umount", "--lazy", work)
        bench = Bench(base=base, work=work)
        for fault in options.faults:
            rounds, name, _ = FAULTS[fault]
            if fault.startswith(("disk-full", "read-only")) and MOUNTS not in os.environ:
                say(f"{fault}: skipped, since nothing can be mounted here")
                continue
            bench.unbroken(name)
            begun, done = time.monotonic(), []
            for number in range(options.rounds or rounds):
                bench.rng = random.Random(f"{options.seed} {fault} {number}")
                done.append(once(bench, fault))
                say(f"{fault} {number + 1}: {'survived' if done[-1][1] else 'NOT SURVIVED'}: {done[-1][0]}")
            survived, lost = sum(kept for _, kept, _ in done), sum(size for *_, size in done)
            row = {"fault": fault, "injected": len(done), "survived": survived, "bytes lost": lost}
            rows.append(row | {"seconds": round(time.monotonic() - begun)})
    report(rows)
    return int(any(row["survived"] != row["injected"] for row in rows))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
