"""Every stage with the networks of scale gpu at full size, on a few images: what fails here would fail there.

Makes a clone of HEAD whose scale smoke has gpu's networks and fewer images, and runs `advgrad repro` in it; a second
call goes on. Half an hour on two cores for all stages.

    python benchmarks/rehearsal.py FOLDER [STAGE ...]
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from engines import environment, project

from advgrad.config import PAPERS, load_yaml

MOST, BATCH = 16, 8  # images of anything, and of a training's batch


def fewer(value: Any) -> Any:
    """The same with counts of images brought down to MOST."""
    if isinstance(value, dict):
        counts = ("images", "validation", "test")
        return {key: min(part, MOST) if key in counts else fewer(part) for key, part in value.items()}
    return value


def rehearsed(scales: Path) -> dict[str, Any]:
    """Scale smoke with the networks of scale gpu."""
    smoke, gpu = load_yaml(scales / "smoke.yaml"), load_yaml(scales / "gpu.yaml")
    for paper in PAPERS:
        sections = fewer(smoke[paper])
        recipes = {name: recipe | {"batch": BATCH} for name, recipe in sections["recipes"].items()}
        smoke[paper] = sections | {"recipes": recipes, "networks": gpu[paper]["networks"]}
    return smoke


def main(folder: Path, stages: list[str]) -> int:
    if not folder.exists():
        scales = project(folder) / "params" / "scales"
        (scales / "smoke.yaml").write_text(yaml.safe_dump(rehearsed(scales), sort_keys=False), encoding="utf-8")
    command = ["advgrad", "repro", *stages]
    return subprocess.run(command, cwd=folder, env=environment(folder), check=False).returncode  # noqa: S603


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
