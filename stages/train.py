"""Train one model: train.py MODEL -> models/MODEL/{weights.safetensors,curve.csv,metrics.json}.

A recipe with a checkpoint takes its weights from there, and nothing is trained: the curve is empty. A model with a fork
goes on from the state that the other model's training has kept.
"""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text


def train(name: str) -> None:
    settings, this = stage.model(name)
    recipe, pack, folder = this.training, Path("data", f"{this.dataset}.safetensors"), Path("models", name)
    params = this.model_dump(include={"dataset", "network", "training", "fork", "seed"})
    trunk = Path("models", this.fork, "weights.safetensors") if this.fork else None
    kind, inputs = ("fork", [pack, trunk]) if trunk else ("train", [pack])
    with stage.tracked(kind, name, settings, params=params, inputs=inputs, paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.data.datasets import DATASETS
        from advgrad.data.pack import read_split
        from advgrad.draws import seeded
        from advgrad.models import count, imported, registry, weights
        from advgrad.training import loop, validation

        seed, curve = this.seed + recipe.seed, folder / "curve.csv"
        with seeded(seed, "init"):
            model = registry.build(this.network, this.dataset)
        registry.check_device(this.network, model, device)
        saved = Path("checkpoints", name)
        if recipe.checkpoint is not None:
            done = imported.read(recipe.checkpoint, this.network, model)
            weights.save_weights(folder / "weights.safetensors", done.state, origin=done.origin)
            write_text(curve, ",".join(imported.COLUMNS) + "\n")  # an output of the stage has to exist
            metrics, epochs = done.metrics(), None
        else:
            data, held_out = validation.split(recipe, *read_split(pack, "train"))
            done = loop.train(
                recipe, this.network, model, data, held_out,
                seed=seed, device=device, checkpoint=saved, key=run.state(device), on_epoch=run.log,
                trunk=weights.load_fork(trunk) if trunk else None,
            )  # fmt: skip
            states = checkpoint.group("best", done.best) | checkpoint.group("fork", done.kept)
            weights.save_weights(folder / "weights.safetensors", done.state | states, done.precision)
            stage.write_csv(curve, done.curve)
            metrics = done.metrics(count.macs(model, DATASETS[this.dataset].shape))
            metrics |= {"fork": {"model": this.fork, "epoch": int(done.curve[0]["epoch"]) - 1}} if trunk else {}
            epochs = done.seconds
        stage.write_json(folder / "metrics.json", metrics)
        shown = [curve, folder / "metrics.json"]
        run.finish(outputs=[folder / "weights.safetensors"], shown=shown, metrics=metrics, epochs=epochs)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
