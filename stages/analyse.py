"""Analyse one model: analyse.py MODEL -> analyses/MODEL/{values.json,sweep.csv}."""

from pathlib import Path

from advgrad import stage
from advgrad.errors import InputError
from advgrad.files import write_text


def analyse(name: str) -> None:
    settings, this = stage.model(name)
    if this.analysis is None:
        raise InputError(f"models.{name}: has no analysis; name one of its paper's `analyses`")
    pack, folder = Path("data", f"{this.dataset}.safetensors"), Path("analyses", name)
    trained, saved = Path("models", this.model, "weights.safetensors"), Path("checkpoints", f"{name}.analyse")
    params = this.model_dump(include={"dataset", "network", "evaluation", "analysis", "seed"})
    with stage.tracked("analyse", name, settings, params=params, inputs=[pack, trained], paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.analysis.run import analyse
        from advgrad.analysis.sweep import COLUMNS
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        model = registry.build(this.network, this.dataset)
        registry.check_device(this.network, model, device)
        weights.load_weights(trained, model)
        images, labels = to_device(*read_split(pack, "test"), device)
        store = checkpoint.Store(folder=saved, key=run.state(device))
        with stage.bar() as progress:
            found = analyse(this, model, images, labels, device=device, progress=progress, store=store)
        values, rows = folder / "values.json", folder / "sweep.csv"
        stage.write_json(values, found.values)
        if found.sweep:
            stage.write_csv(rows, found.sweep)
        else:
            write_text(rows, ",".join(COLUMNS) + "\n")  # an output of the stage has to exist
        run.finish(shown=[values, rows], metrics=found.values, seconds=found.seconds)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(analyse)
