"""Where a project's runs go, and the files that a stage, the drainer and `sync` share."""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advgrad.files import write_text

if TYPE_CHECKING:
    from advgrad.config import Tracking


@dataclass(frozen=True, kw_only=True)
class Target:
    """A project (absolute root), an MLflow store and an experiment in it."""

    root: Path
    uri: str
    experiment: str

    @property
    def id(self) -> str:
        """Short name of the target; it hides the URI, which may hold a password."""
        return hashlib.sha256(f"{self.uri} {self.experiment}".encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return self.root / ".advgrad"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def lock(self) -> Path:
        return self.folder / "drain.lock"

    @property
    def log(self) -> Path:
        return self.folder / "drain.log"

    @property
    def warning(self) -> Path:
        """Why MLflow could not be written, for the next stage to show."""
        return self.folder / "drain.warning"

    @property
    def handover(self) -> Path:
        """Exists while another process wants the drainer's lock."""
        return self.folder / "drain.handover"

    def spools(self) -> list[Path]:
        return sorted(self.spool.glob("*.jsonl"))

    @property
    def database(self) -> Path | None:
        """The SQLite file, if the store is one."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path) if scheme == "sqlite" else None


def target(root: Path, tracking: "Tracking") -> Target:
    """MLFLOW_TRACKING_URI goes before the parameter; a relative SQLite file lies in the project."""
    root = root.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri
    scheme, separator, path = uri.partition(":///")
    if scheme == "sqlite" and separator and not path.startswith(":"):
        uri = f"sqlite:///{root / path}"
    return Target(root=root, uri=uri, experiment=tracking.experiment)


def say(line: str) -> None:
    """One warning line; tracking never fails a stage."""
    sys.stderr.write(f"tracking: {line}\n")


def read_state(at: Target) -> dict[str, Any]:
    """{"known": stage -> its outputs' hashes as last seen here, "synced": target -> digest of the last sync}."""
    try:
        return json.loads((at.folder / "tracked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"known": {}, "synced": {}}


def write_state(at: Target, state: dict[str, Any]) -> None:
    """Only by who holds the drainer's lock."""
    write_text(at.folder / "tracked.json", json.dumps(state, indent=1, sort_keys=True))
