"""What a visit takes home: entries, small outputs, weights where wanted, tracking events; as parts of bounded size."""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from advgrad.tracking import locks
from advgrad.visits import parts
from advgrad.visits.ledger import Done
from advgrad.visits.plan import Plan
from advgrad.visits.weights import pack

Weights = Literal["none", "needed", "binary", "all"]
WEIGHTS, PACKED = "weights.safetensors", "weights.packed"
BINARY = 1 / 8  # packed to less than this share, a network's weights are mostly single bits
SPOOL = Path(".advgrad/spool")


def write(
    root: Path, plan: Plan, done: Mapping[str, Done], out: Path, *, needed: Collection[str], weights: Weights,
    part: int, most: int,
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """(parts, models whose wanted weights stayed behind because the parts would pass `most` bytes).

    needed: models with attacks or analyses still to run, whose weights the next machine cannot do without.
    """
    small = {path: root / path for one in done.values() for path in one.outs if Path(path).name != WEIGHTS}
    files = {f"files/{path}": file.read_bytes() for path, file in small.items() if not path.startswith("data/")}
    files |= {f"spool/{path}": file.read_bytes() for path, file in _events(root)}
    told = {name: asdict(one) for name, one in done.items()}
    files["entries.json"] = json.dumps(told, indent=1).encode()
    room, behind = most - sum(map(len, files.values())), []
    for path, packed in _weights(root, done, needed, weights):
        if len(packed) > room:
            behind.append(Path(path).parts[1])
            continue
        room -= len(packed)
        files[f"files/{Path(path).with_name(PACKED).as_posix()}"] = packed
    return _parts(files, plan, out, part), behind


def _weights(
    root: Path, done: Mapping[str, Done], needed: Collection[str], weights: Weights
) -> Iterator[tuple[str, bytes]]:
    for one in done.values():
        for path in one.outs:
            if Path(path).name != WEIGHTS or weights == "none" or not (root / path).is_file():
                continue
            wanted = weights == "all" or Path(path).parts[1] in needed
            if not wanted and weights == "needed":
                continue
            packed = pack((root / path).read_bytes())
            if wanted or len(packed) < BINARY * (root / path).stat().st_size:
                yield path, packed


def _events(root: Path) -> Iterator[tuple[str, Path]]:
    """Tracking events of stages that are over, and the files that go with them."""
    for events in sorted((root / SPOOL).glob("*.jsonl")):
        if locks.is_held(events):
            continue
        yield events.name, events
        kept = events.with_suffix(".files")
        yield from ((f.relative_to(root / SPOOL).as_posix(), f) for f in sorted(kept.rglob("*")) if f.is_file())


def _parts(files: Mapping[str, bytes], plan: Plan, out: Path, limit: int) -> list[Path]:
    """One section, named by its content; an earlier visit's parts in the folder are replaced: this one has it all."""
    with tempfile.TemporaryDirectory(prefix="advgrad-") as folder:
        payload = parts.write_tar(Path(folder) / "payload", files, preset=1)
        with payload.open("rb") as file:
            section = f"visit-{hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"
        before = set(out.glob("visit-*.part"))
        written = parts.write_parts(
            out, section, payload, kind="results", commit=plan.commit, scale=plan.scale, limit=limit
        )
    for old in before - set(written):
        old.unlink()
    return written
