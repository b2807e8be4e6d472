"""Fetch one data set: fetch.py DATASET -> data/DATASET.safetensors."""

from pathlib import Path

from advgrad import stage


def fetch(dataset: str) -> None:
    from advgrad.data.sources import fetch, mirror_folder

    settings = stage.settings()
    out = Path("data", f"{dataset}.safetensors")
    with stage.tracked("fetch", dataset, settings, params={"dataset": dataset}) as run:
        mirror = mirror_folder(settings.data.mirror)
        source = fetch(dataset, out, mirror, settings.data.timeout, stage.say)
        stage.say(f"{out}: from {source}, checksums as expected")
        run.finish(outputs=[out])


if __name__ == "__main__":
    stage.main(fetch)
