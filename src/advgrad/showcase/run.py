"""`advgrad showcase`: the same images, the same steps; what a network withstands and what it does not.

attack-bnn's point in a few minutes without a GPU: PGD leaves a binary network standing, PGD++ does not.
"""

import csv
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advgrad import config, determinism
from advgrad.clock import clock
from advgrad.data.datasets import DATASETS
from advgrad.errors import InputError
from advgrad.files import write_bytes, write_text
from advgrad.visits import archive, payload
from advgrad.visits.archive import Archive
from advgrad.visits.weights import unpack

if TYPE_CHECKING:
    import numpy as np

    from advgrad.showcase.attacks import Attacked

ATTACK = "pgd_linf"
NAMES = {"plain": "PGD", "njs": "PGD++ (NJS)", "hns": "PGD++ (HNS)"}
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network, and where it is from."""

    run: config.Run
    weights: bytes  # safetensors
    about: str  # "archives/gpu, trained at commit 0123456789ab"
    outcomes: dict[str, "np.ndarray"]  # what the archive has: ATTACK/GRADIENT -> (restarts, marks, n)


def showcase(root: Path, scale: str, model: str, images: int, out: Path, say: Say) -> int:
    """0. Attack the first test images by the model's own `pgd_linf`, with each of its gradients; write out/outcomes.csv
    and out/pictures.png.

    scale: whose archive has the network. InputError, before anything is written: no such archive, model, weights or
    data set, or a model without that attack.
    """
    settings = on_all_cores(config.load_settings(root))
    network = of_archive(root, scale, model)
    pack = root / "data" / f"{network.run.dataset}.safetensors"
    determinism.prepare(settings.determinism)  # before torch comes in

    from advgrad.showcase.attacks import attacked
    from advgrad.showcase.picture import picture

    told = DATASETS[network.run.dataset]
    say(f"{model} ({network.about}): the first {images} test images of {told.title}")
    found, began = [], time.monotonic()
    device = determinism.configure(settings)
    for one in attacked(network.run, network.weights, pack, images, ATTACK, device=device):
        found.append(one)
        say(_line(one, network.outcomes.get(f"{ATTACK}/{one.gradient}"), time.monotonic() - began))
        began = time.monotonic()
    write_text(out / "outcomes.csv", _csv(found))
    write_bytes(out / "pictures.png", picture(found, told.class_names, NAMES))
    say(f"{out / 'pictures.png'}: images that some attacks leave right and others do not; {out / 'outcomes.csv'}: all")
    return 0


def on_all_cores(settings: config.Settings) -> config.Settings:
    """Nothing here is hashed, so the last bits may depend on the number of threads."""
    return settings.model_copy(
        update={"determinism": settings.determinism.model_copy(update={"threads": os.cpu_count() or 1})}
    )


def of_archive(root: Path, scale: str, model: str) -> Network:
    """The model as archives/SCALE has it. InputError: see `showcase`."""
    found = archive.existing(root, scale)
    path = payload.packed_path(f"models/{model}/weights.safetensors")
    if path not in found.files:
        known = ", ".join(_with_weights(found)) or "none"
        raise InputError(f"archives/{scale}: no weights of {model!r}; there are those of: {known}")
    made = next(done for name, done in found.stages.items() if name in (f"train@{model}", f"fork@{model}"))
    run, outcomes = _run(found, model), _outcomes(found, model)
    if ATTACK not in run.evaluation.attacks:
        raise InputError(
            f"archives/{scale}: {model} has no attack {ATTACK!r}; has: {', '.join(run.evaluation.attacks)}"
        )
    about = f"archives/{scale}, trained at commit {made.facts['commit']} on {made.facts['machine']}"
    return Network(run=run, weights=unpack(found.files[path]), about=about, outcomes=outcomes)


def _with_weights(found: Archive) -> Iterator[str]:
    return (Path(path).parts[1] for path in sorted(found.files) if Path(path).name == payload.PACKED)


def _run(found: Archive, model: str) -> config.Run:
    """The model by the archive's own parameters."""
    with tempfile.TemporaryDirectory(prefix="advgrad-") as name:
        folder = Path(name)
        for path, content in found.files.items():
            if path == "params.yaml" or path.startswith("params/"):
                write_bytes(folder / path, content)
        return config.load_run(model, config.load_settings(folder), folder)


def _outcomes(found: Archive, model: str) -> dict[str, "np.ndarray"]:
    from safetensors.numpy import load

    content = found.files.get(f"results/{model}/outcomes.safetensors")
    return load(content) if content else {}


def _line(one: "Attacked", archived: "np.ndarray | None", seconds: float) -> str:
    n, right = len(one.labels), int(one.correct.sum())
    if not one.gradient:
        return f"  no attack: {right} of {n} right ({100 * right / n:.1f} %)"
    line = f"  {NAMES.get(one.gradient, one.gradient)}: {right} of {n} still right ({100 * right / n:.1f} %)"
    if archived is not None and archived.shape[-1]:
        k = min(n, archived.shape[-1])
        same = int((archived[0, -1, :k] == one.correct[:k]).sum())
        line += f"; the archive has {int(archived[0, -1, :k].sum())}, the same on {same} of {k}"
    return f"{line}; {clock(seconds)}"


def _csv(found: Sequence["Attacked"]) -> str:
    """A line for each image: its label and what the network takes it for, before and after each attack."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", *(one.gradient or "clean" for one in found)])
    for number, label in enumerate(found[0].labels):
        writer.writerow([number, int(label), *(int(one.guesses[number]) for one in found)])
    return text.getvalue()
