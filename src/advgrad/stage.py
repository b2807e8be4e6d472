"""What every stage does around its work: parameters in, one MLflow run, results written whole, errors as one line."""

import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advgrad import config, determinism, provenance, track
from advgrad.errors import InputError
from advgrad.files import write_bytes, write_text

if TYPE_CHECKING:
    import numpy as np
    import torch

# numpy, which is not loaded yet, is to multiply matrices in the same order on every x86: its OpenBLAS has other kernels
# where there is AVX-512. (torch's are held to AVX2 by `determinism`.)
os.environ["OPENBLAS_CORETYPE"] = "Haswell"

BESIDE = "ADVGRAD_BESIDE"  # set where other stages may run beside this one: its seconds are then no measurement
ROOT = Path()  # stages run in the repository's root, as DVC runs them


def main(work: Callable[[str], None]) -> None:
    """Run `work` with the first argument. Bad input is one line on stderr and exit 2, a signal exit 128 + it."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        work(sys.argv[1] if len(sys.argv) > 1 else "")
    except InputError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        say("interrupted; run the same command again to go on")
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: a second one must not stop the tidying up
    raise Terminated("SIGTERM")


def settings() -> config.Settings:
    """params.yaml, with the scale that it names known to exist."""
    settings = config.load_settings(ROOT)
    config.load_scale(settings.scale, ROOT)
    return settings


def results(settings: config.Settings, *parts: str) -> Path:
    """A place of the scale's results: reports/SCALE/PARTS."""
    return ROOT.joinpath("reports", settings.scale, *parts)


def model(name: str) -> tuple[config.Settings, config.Run]:
    """params.yaml, and what the model is at its scale. Sets the process up for torch: call before importing it."""
    settings = config.load_settings(ROOT)
    run = config.load_run(name, settings, ROOT)
    determinism.prepare(settings.determinism)
    return settings, run


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@dataclass(kw_only=True)
class Tracked:
    """A stage being executed."""

    name: str
    scale: str
    key: str  # equal for executions that must give equal results
    cuda: bool = False  # whether `device` gave a GPU
    _run: track.StageRun
    _started: float = field(default_factory=time.monotonic)
    _laps: list[float] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)

    def device(self, settings: config.Settings) -> "torch.device":
        """torch, made deterministic, and its device; the run is tagged with the fingerprint."""
        device = determinism.configure(settings)
        fingerprint = determinism.fingerprint(device, settings.determinism)
        tags = {f"fingerprint.{name}": str(value) for name, value in fingerprint.items()}
        self._run.log(tags={"fingerprint": determinism.fingerprint_id(fingerprint), **tags})
        provenance.note(ROOT, "fingerprint", fingerprint)
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        self.cuda = device.type == "cuda"
        self._last = time.monotonic()
        return device

    def state(self, device: "torch.device") -> str:
        """Key of what a checkpoint holds: not to be continued on a device of another kind."""
        return f"{self.key} {device.type}"

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """One epoch's metrics, to MLflow and to the terminal."""
        now = time.monotonic()
        self._laps.append(now - self._last)
        self._last = now
        self._run.log(epoch, metrics={name: value for name, value in row.items() if name != "epoch"})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        say(f"{self.name}  epoch {epoch}  {shown}")

    def finish(
        self, *, outputs: Sequence[Path] = (), shown: Sequence[Path] = (), metrics: Mapping[str, Any] | None = None,
        seconds: Mapping[str, float] | None = None, epochs: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        """outputs: files known by hash only; shown: files small enough to keep with the run.

        seconds: what the stage clocked by itself, by name; epochs: of each epoch of a training. Both go to the notes
        and nowhere else.
        """
        hashes = {path.as_posix(): provenance.file_md5(path) for path in (*outputs, *shown)}
        named = dict(metrics or {}) | accuracies(metrics or {})
        numbers = {name: float(value) for name, value in track.flatten(named).items() if is_number(value)}
        self._run.finish(metrics=numbers, outputs=hashes, artifacts=shown)
        note = {"scale": self.scale, "seconds": round(self.seconds(), 3)}
        note |= {"clocked": dict(seconds)} if seconds else {}
        note |= {"training": {"seconds": round(sum(epochs), 3), "epochs": len(epochs)}} if epochs else {}
        note |= {"alone": False} if BESIDE in os.environ else {}
        note |= {"gpu_gib": peak_memory()} if self.cuda else {"gib": round(provenance.resident(), 3)}
        provenance.note(ROOT, self.name, note)

    def seconds(self) -> float:
        """Seconds of the work; epochs that a checkpoint brought count as long as those really run."""
        real = [lap for lap in self._laps if lap > 0.01]
        return sum(real) / len(real) * len(self._laps) if real else time.monotonic() - self._started


def peak_memory() -> float:
    """GiB of GPU memory that this process's tensors have taken at most."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**30, 3)


def accuracies(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Short names for what an attack stage measures: clean, and under its first attack of several steps, at the end."""
    runs = list(metrics.get("runs", {}).values())
    if not runs:
        return {}
    main = next((run for run in runs if run["steps"][-1] > 1), runs[0])
    return {"clean_accuracy": metrics["clean"], "robust_accuracy": list(main["accuracy"].values())[-1]}


def code(name: str) -> list[str]:
    """md5 of each file that dvc.yaml lists as stage NAME's code; of the whole package if it does not say."""
    try:
        entry = config.load_yaml(ROOT / "dvc.yaml")["stages"][name.partition("@")[0]]
        paths = [ROOT / dep for dep in entry.get("do", entry)["deps"] if dep.startswith(("src/", "stages/", "${"))]
    except (InputError, KeyError, TypeError, AttributeError):
        paths = []
    if not paths or not all(path.exists() for path in paths):
        paths = [Path(__file__).parent]
    files = {file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])}
    return [provenance.file_md5(file) for file in sorted(files)]


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@contextmanager
def tracked(
    kind: str, item: str, settings: config.Settings, *, params: Mapping[str, Any], inputs: Sequence[Path] = (),
    paper: str = "",
) -> Iterator[Tracked]:  # fmt: skip
    """The MLflow run of stage KIND@ITEM, or as DVC calls it. Enter it before importing torch."""
    name = os.environ.get("DVC_STAGE") or (f"{kind}@{item}" if item else kind)
    provenance.reset_resident()
    if absent := [path for path in inputs if not path.exists()]:
        raise InputError(
            f"{absent[0]}: no such file; an earlier stage makes it: dvc repro {name}, if its deps in dvc.yaml name it"
        )
    hashes = {path.as_posix(): provenance.file_md5(path) for path in inputs}
    parts = [name, settings.scale, settings.determinism.model_dump(), params, hashes, code(name)]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]
    model = str(params.get("model", "")) or (item if kind in ("train", "analyse") else "")
    tags = {"scale": settings.scale, "commit": provenance.commit(ROOT), "key": key}
    tags |= {"paper": paper} if paper else {}
    tags |= {"model": model} if model else {}
    with track.StageRun(ROOT, settings.tracking, stage=name, tags=tags, params=params) as run:
        yield Tracked(name=name, scale=settings.scale, key=key, _run=run)


@contextmanager
def bar(unit: str = "images") -> Iterator[Callable[[str, int, int], None]]:
    """progress(name, done, total) as bars where a person watches, as one line per name elsewhere."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: say(f"{name}  {total} {unit}") if done == total else None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield advance


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Rows with the keys of the first as columns; numbers with enough digits to read back the same."""
    values = ([row.get(name) for name in rows[0]] for row in rows)
    lines = [",".join(rows[0]), *(",".join("" if x is None else str(x) for x in line) for line in values)]
    write_text(path, "\n".join(lines) + "\n")


def write_arrays(path: Path, arrays: "Mapping[str, np.ndarray]") -> None:
    import numpy as np
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
