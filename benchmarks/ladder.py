"""The cheapest CIFAR-10 network under which PGD fails: python benchmarks/ladder.py TRIAL ... [--out ladder]

Each trial is bnn-vgg16-wq or bnn-vgg16-waq of params/attack-bnn.yaml with the changes below. It trains (and goes on
where it was stopped), is attacked on 1,000 test images, and leaves in OUT/TRIAL weights.safetensors, packed.safetensors
(a bit for each binary weight; data/weights has trial c's), curve.csv and row.json.
Without a trial: the table of those that are there, as reports/ladder.csv, and their epochs.

PGD fails where the gap between an image's two largest logits is more than float32 can resolve. Such a gap needs a
training that separates the classes, and a wide last layer of binary weights; the trunk below may be narrow.

Trainings in bf16 use what the CPU has for it (twice as fast where that is AVX-512); attacks are in float32.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advgrad import config, determinism, stage
from advgrad.config.schema import PaperFile

QUARTER, HALF = {"width": 0.25, "head_width": 1}, {"width": 0.5, "head_width": 1}
LATE = {"milestones": [50000, 75000, 90000]}  # the rates held up longer
TRIALS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # model, changes of its network and of its recipe
    "a": ("bnn-vgg16-wq", QUARTER, {"epochs": 60}),
    "b": ("bnn-vgg16-wq", QUARTER, {"epochs": 40, "augment": "none", "schedule": LATE}),
    # stopped after 19 epochs: with its rate held up it came apart where beta passed 90 (train 93 %, gap 3.7 before)
    "c-late": ("bnn-vgg16-wq", HALF, {"epochs": 36, "augment": "none", "schedule": LATE, "precision": "bf16"}),
    "c": ("bnn-vgg16-wq", HALF, {"epochs": 36, "augment": "none", "precision": "bf16"}),
    "d": ("bnn-vgg16-wq", {}, {"epochs": 36, "augment": "none", "precision": "bf16"}),
    "waq": ("bnn-vgg16-waq", {"width": 0.125, "head_width": 1}, {"epochs": 16, "precision": "bf16"}),
}
MONITOR = {"images": 500, "gaps": True, "recalibrate": 100}
IMAGES = 1000


def run_of(trial: str) -> config.Run:
    """The model's run at the papers' own values, with the trial's changes."""
    name, network, recipe = TRIALS[trial]
    raw = config.load_yaml(Path("params", "attack-bnn.yaml"))
    model = raw["models"][name]
    changes = {
        "networks": {model["network"]: network},
        "recipes": {model["recipe"]: {**recipe, "monitor": MONITOR}},
        "evaluations": {model["evaluation"]: {"images": IMAGES, "batch": 250}},
    }
    file = config.parse(PaperFile, config.merge(raw, changes), Path("params", "attack-bnn.yaml"))
    return config.Run(
        paper="attack-bnn", name=name, model=name, dataset=file.models[name].dataset,
        network=file.networks[model["network"]], training=file.recipes[model["recipe"]],
        evaluation=file.evaluations[model["evaluation"]], seed=config.load_settings().seed,
    )  # fmt: skip


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """name -> tensor: those that are all +1 or -1 as bits, eight in a uint8; other matrices and kernels in float16."""
    import torch

    packed = {}
    for name, tensor in state.items():
        if bool((tensor.abs() == 1).all()) and tensor.is_floating_point():
            packed[name] = torch.from_numpy(np.packbits(tensor.numpy() > 0))
        else:
            packed[name] = tensor.half() if tensor.dim() > 1 else tensor
    return packed


def climb(trial: str, folder: Path) -> None:
    """Train and attack one trial."""
    settings, run = config.load_settings(), run_of(trial)
    if run.training.precision == "bf16":
        settings = settings.model_copy(
            update={"determinism": settings.determinism.model_copy(update={"isa": "native"})}
        )
    determinism.prepare(settings.determinism)

    import torch

    from advgrad.attacks.evaluate import evaluate
    from advgrad.attacks.masking import masking
    from advgrad.attacks.target import frozen
    from advgrad.data.batches import to_device
    from advgrad.data.pack import read_split
    from advgrad.draws import seeded
    from advgrad.models import registry, weights
    from advgrad.training import loop, metrics, validation

    device = determinism.configure(settings)
    pack = Path("data", f"{run.dataset}.safetensors")
    with seeded(run.seed, "init"):
        model = registry.build(run.network, run.dataset)
    data, held_out = validation.split(run.training, *read_split(pack, "train"))
    done = loop.train(
        run.training, run.network, model, data, held_out, seed=run.seed, device=device,
        checkpoint=folder / "checkpoint", key=run.model_dump_json(), on_epoch=lambda epoch, row: show(trial, row),
    )  # fmt: skip
    weights.save_weights(folder / "weights.safetensors", done.state, done.precision)
    weights.save_weights(folder / "packed.safetensors", pack(done.state), done.precision)
    stage.write_csv(folder / "curve.csv", done.curve)
    weights.load_weights(folder / "weights.safetensors", model)
    images, labels = to_device(*read_split(pack, "test"), device)
    clean = metrics.measure(model, images, labels, batch=500, prefix="clean")["clean_accuracy"]
    with frozen(model):
        gap = masking(model, images[:IMAGES], labels[:IMAGES], divisor=128)
    attacks = {"pgd_linf": run.evaluation.attacks["pgd_linf"].model_copy(
        update={"gradients": {"plain": 1, "njs": 1, "hns": 1, "exact": 1}})}  # fmt: skip
    outcomes = evaluate(
        model, images, labels, run.evaluation.model_copy(update={"attacks": attacks}), run.network, seed=run.seed,
        device=device,
    )  # fmt: skip
    rates = {name.replace("pgd_linf/plain", "pgd_linf/pgd").split("/")[1]: float(rows[-1, -1].mean())
             for name, rows in outcomes.correct.items()}  # fmt: skip
    (row,) = [row for row in done.curve if row["epoch"] == done.epoch]
    values = {
        "trial": trial, "model": run.name, "width": run.network.width, "epochs": run.training.epochs,
        "augment": run.training.augment, "precision": done.precision, "isa": torch.backends.cpu.get_cpu_capability(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "chosen_epoch": done.epoch, "train": row["train_accuracy"], "clean": clean, **gap, "images": IMAGES, **rates,
        "core_hours": round(sum(done.seconds) / 3600, 2), "torch": torch.__version__,
    }  # fmt: skip
    stage.write_json(folder / "row.json", values)
    show(trial, values)


def show(trial: str, row: dict[str, Any]) -> None:
    texts = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    sys.stderr.write(f"{trial}  {'  '.join(texts)}\n")


def table(out: Path) -> None:
    """reports/ladder.csv: a row for each trial that has ended; reports/ladder-TRIAL.csv: its epochs."""
    ended = [out / trial for trial in TRIALS if (out / trial / "row.json").is_file()]
    rows = pd.DataFrame([json.loads((folder / "row.json").read_text()) for folder in ended])
    rows.to_csv(Path("reports", "ladder.csv"), index=False)
    for folder in ended:
        shutil.copy(folder / "curve.csv", Path("reports", f"ladder-{folder.name}.csv"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--out", type=Path, default=Path("ladder"))
    arguments = parser.parse_args()
    if unknown := set(arguments.trials) - TRIALS.keys():
        parser.error(f"no trial {min(unknown)!r}; known: {', '.join(TRIALS)}")
    for trial in arguments.trials:
        climb(trial, arguments.out / trial)
    if not arguments.trials:
        table(arguments.out)


if __name__ == "__main__":
    main()
