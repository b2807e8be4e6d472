"""Stages of every kind (tests/device.yaml), and what has none, on the CPU and on the device of tests/fake_device.py.

python -m tests.device_stages FOLDER CASE… -> a JSON line for each case: what differs between the two, what ran where.
CASE is STAGE@NAME as DVC has it, with a ! behind it for one that is stopped and resumed on the device, or "own",
"networks" or "refused". Stages find their trained weights in FOLDER: trainings go first. To be started in the
environment that determinism.environment gives.
"""

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from unittest.mock import MagicMock, patch

import numpy as np
import torch
from torch import Tensor, nn

from advgrad import checkpoint, config, determinism, track
from advgrad.attacks import linbp, pgd
from advgrad.attacks.target import frozen
from advgrad.config.attack import Norm
from advgrad.data.datasets import DATASETS
from advgrad.data.pack import write_pack
from advgrad.draws import generator, seeded
from advgrad.models import layers, registry
from tests.fake_device import GPU, MODULE, Watch
from tests.interruption import Interrupted, stopping
from tests.networks import LINEAR, SLIM

ROOT = Path(__file__).parents[1]
SETTINGS = {"scale": "device", "device": "cpu", "determinism": {"threads": 1}}
FORMAT, CONFIGURE = layers.memory_format, determinism.configure


def project(folder: Path) -> None:
    """What stages read: parameters, and 48 + 16 images with a bright patch in one of ten places."""
    (folder / "params/scales").mkdir(parents=True)
    shutil.copy(ROOT / "tests/device.yaml", folder / "params")
    (folder / "params/scales/device.yaml").write_text("about: tests\njudge: none\n")
    (folder / "params.yaml").write_text(json.dumps(SETTINGS))
    for dataset in ("mnist", "cifar10"):
        draws, (channels, height, width) = np.random.default_rng(0), DATASETS[dataset].shape
        arrays: dict[Any, np.ndarray] = {}
        for split, n in (("train", 48), ("test", 16)):
            labels, images = draws.integers(0, 10, n), draws.integers(0, 100, (n, height, width, channels))
            for image, label in zip(images, labels, strict=True):
                image[2 * label : 2 * label + 6, 8:20] += 140
            arrays |= {f"{split}_images": images, f"{split}_labels": labels}
        write_pack(folder / f"data/{dataset}.safetensors", arrays)


def stage(case: str, device: str) -> None:
    """As DVC runs it; with a ! and on the device until its first checkpoint, and then again."""
    kind, _, name = case.rstrip("!").partition("@")
    script = {"further": "attack", "transfer": "attack"}.get(kind, kind)
    run = getattr(importlib.import_module(script), script)
    if case.endswith("!") and device == GPU:
        with patch.object(checkpoint.Store, "due", lambda _: True):
            try:
                with patch.object(checkpoint.Store, "save", stopping(1)):
                    run(name)
            except Interrupted:
                return run(name)
            raise AssertionError(f"{case}: was not stopped")
    return run(name)


def made() -> dict[str, bytes]:
    """All outputs of stages so far, in the present folder."""
    files = [path for top in ("reports", "models") for path in Path(top).rglob("*.*")]
    return {path.as_posix(): path.read_bytes() for path in files}


def named(tensors: list[Tensor], device: str) -> dict[str, bytes]:
    assert {tensor.device.type for tensor in tensors} == {torch.device(device).type}
    return {str(n): tensor.detach().cpu().numpy().tobytes() for n, tensor in enumerate(tensors)}


def own(device: str) -> dict[str, bytes]:
    """advgrad.attacks.pgd on a network of one's own, with every gradient source."""
    with seeded(0, "own"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        x, y = torch.rand(6, 3, 8, 8).to(device), torch.randint(0, 10, (6,)).to(device)
    found: list[Tensor] = []
    for norm in get_args(Norm):
        sources: list[Any] = ["plain", "njs", "hns", "exact", linbp("2")]
        done = pgd(model.to(device), x, y, eps=0.1, steps=2, gradient=sources, norm=norm, batch=4)
        found += [done.x_adv, done.correct, done.gap, done.zero, *done.outcomes.values()]
    return named(found, device)


def networks(device: str) -> dict[str, bytes]:
    """One of every architecture: gradients of weights in training, of images in evaluation."""
    found: list[Tensor] = []
    pixels, y = torch.rand(4, 3, 32, 32, generator=generator(0)).to(device), torch.arange(4).to(device)
    for name in registry.BUILDERS:
        fields = {"architecture": name, "width": 0.25, "linearised": LINEAR[name], **SLIM[name]}
        with seeded(0, "build"):
            model = registry.build(config.Network.model_validate(fields), "cifar10").to(device)
        with seeded(1, "dropout", device=device):
            nn.functional.cross_entropy(model.train()(pixels), y).backward()
        x = pixels.clone().requires_grad_()
        with frozen(model):
            found += torch.autograd.grad(model(x).logsumexp(1).sum(), x)
        found += [weight.grad for weight in model.parameters() if weight.grad is not None]
    return named(found, device)


def refused() -> list[str]:
    """What CUDA refuses, after a look at what it takes; all of it has to be refused."""
    here, there, numbers = torch.rand(2, 3), torch.rand(2, 3).to(GPU), torch.tensor([1, 0])
    taken = [there * 2, there * torch.tensor(2.0), there[numbers], there.to(torch.int64).cumsum(1)]
    assert {tensor.device.type for tensor in taken} == {"gpu"}
    assert here.copy_(there) is here
    wrong: dict[str, Callable[[], Any]] = {
        "sum": lambda: here + there, "product": lambda: here @ there.T, "written": lambda: here.add_(there),
        "joined": lambda: torch.cat([here, there]), "index": lambda: here[numbers.to(GPU)], "array": there.numpy,
        "value": lambda: there.index_put_((numbers,), here), "generator": lambda: there.normal_(generator=generator(0)),
        "gathered": lambda: there.gather(0, numbers[None]), "not deterministic": lambda: there.cumsum(1),
    }  # fmt: skip
    for name, operation in wrong.items():
        try:
            operation()
        except (RuntimeError, TypeError):
            continue
        raise AssertionError(f"{name}: is not refused")
    return list(wrong)


def uncompiled() -> None:
    """BBA's solver as plain Python: its compilation takes longer than these few steps."""
    numba = importlib.import_module("numba")
    sys.modules["numba.experimental"] = None  # type: ignore[assignment]
    solver: Any = importlib.import_module("foolbox.attacks.brendel_bethge")
    del sys.modules["numba.experimental"]
    solver.NUMBA_IMPORT_ERROR, solver.numba = None, numba


def both(folder: Path, case: str) -> dict[str, Any]:
    """The case on the CPU, then on the device."""
    run = {"own": own, "networks": networks}.get(case, lambda device: stage(case, device))
    results = []
    for device in ("cpu", GPU):
        os.chdir(folder / device[:3])
        MODULE.asked.clear()
        determinism.configure = lambda settings, device=device: (CONFIGURE(settings), torch.device(device))[1]
        with Watch() as watch:  # of the CPU too: a mode is enough for linalg to take another kernel
            results.append(run(device) or made())
    expected, found = results
    differ = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    ran = {"gpu": watch.gpu, "cpu": watch.cpu, "asked": MODULE.asked}  # pyright: ignore[reportPossiblyUnboundVariable]
    return {"case": case, "made": len(found), "differ": differ, **ran}


def main(folder: Path, cases: list[str]) -> None:
    sys.path.insert(0, str(ROOT / "stages"))
    determinism.prepare = lambda _: None
    track.StageRun = MagicMock()  # type: ignore[misc]
    layers.memory_format = lambda device, precision: FORMAT("cuda", precision)  # on which the bits depend
    torch.autograd.set_multithreading_enabled(False)
    CONFIGURE(config.Settings.model_validate(SETTINGS))
    uncompiled()
    for side in ("cpu", "gpu"):
        project(folder / side)
    for case in cases:
        result = {"case": case, "refused": refused()} if case == "refused" else both(folder, case)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
