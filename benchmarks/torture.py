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
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pandas as pd

from advgrad import config, determinism
from advgrad.errors import InputError
from benchmarks.torture_bench import COMMANDS, REPRO, STORE, Bench, Broken, ended, say, shell
from benchmarks.torture_faults import FAULTS, RECIPE
from tests.project import ROOT, change, commit_all, copied, environment

MOUNTS = "TORTURE_MOUNTS"  # set inside the namespace


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


if __name__ == "__main__":
    sys.exit(main())
