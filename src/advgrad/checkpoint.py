"""Checkpoints: one file in its own folder, replaced whole, so that a kill at any time leaves a valid one."""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from advgrad.files import write_bytes

FILE = "state.safetensors"
EVERY = 15.0  # seconds of work that a kill may cost, besides the part that is never saved halfway


@dataclass(kw_only=True)
class Store:
    """Where a run saves its checkpoint, and how often. `every`: seconds between saves, 0: whenever possible."""

    folder: Path
    key: str  # which run the state belongs to
    every: float = EVERY
    _saved: float = field(default_factory=lambda: time.monotonic())

    def due(self) -> bool:
        """Whether the last save (or the start) is long enough ago."""
        return time.monotonic() - self._saved >= self.every

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write tensors, and facts as JSON in the file's header; the seconds to the next save count from its end."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # facts in the order given: rows become CSV columns
        header = json.dumps({"key": self.key, "facts": facts, "digest": digest(plain, facts)})
        write_bytes(self.folder / FILE, to_safetensors(plain, metadata={"checkpoint": header}))
        self._saved = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, facts), or None if there is no readable checkpoint with this key: then a run starts over."""
        try:
            with safe_open(self.folder / FILE, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
                if header.get("key") != self.key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return (tensors, header["facts"]) if digest(tensors, header["facts"]) == header["digest"] else None
        except (OSError, SafetensorError, ValueError, KeyError):
            return None


def digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Of all values, which safetensors itself does not check."""
    return hashlib.blake2b(to_safetensors(tensors) + json.dumps(facts).encode()).hexdigest()


def remove(folder: Path) -> None:
    """Delete the checkpoint; nothing happens if there is none."""
    shutil.rmtree(folder, ignore_errors=True)


def group(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def ungroup(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `group`: those of `tensors` that are under `prefix/`, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
