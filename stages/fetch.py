"""Fetch one data set: fetch.py DATASET -> data/DATASET.safetensors."""

from pathlib import Path

from advgrad import stage
from advgrad.data.datasets import info
from advgrad.data.sources import fetch, mirror_folder


def fetch_dataset(dataset: str) -> None:
    settings = stage.settings()
    out = Path("data", f"{dataset}.safetensors")
    with stage.tracked("fetch", dataset, settings, params={"dataset": dataset}) as run:
        fetch(info(dataset), out, mirror_folder(settings.data.mirror), settings.data.timeout, stage.say)
        out.touch()  # also where it was whole already: some runners go by a file's age
        run.finish(outputs=[out])


if __name__ == "__main__":
    stage.main(fetch_dataset)
