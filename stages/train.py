"""Train one model: train.py MODEL -> models/MODEL/{weights.safetensors,curve.csv,metrics.json}.

A recipe with a checkpoint takes its weights from there, and nothing is trained: the curve is empty.
"""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text


def train(name: str) -> None:
    settings, this = stage.model(name)
    recipe, pack, folder = this.training, Path("data", f"{this.dataset}.safetensors"), Path("models", name)
    params = this.model_dump(include={"dataset", "network", "training", "seed"})
    with stage.tracked("train", name, settings, params=params, inputs=[pack], paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.data.pack import read_split
        from advgrad.draws import seeded
        from advgrad.models import imported, registry, weights
        from advgrad.training import loop

        seed, curve = this.seed + recipe.seed, folder / "curve.csv"
        with seeded(seed, "init"):
            model = registry.build(this.network, this.dataset)
        registry.check_device(this.network, model, device)
        saved = Path("checkpoints", name)
        if recipe.checkpoint is not None:
            done = imported.read(recipe.checkpoint, this.network, model)
            weights.save_weights(folder / "weights.safetensors", done.state, origin=done.origin)
            write_text(curve, ",".join(imported.COLUMNS) + "\n")  # an output of the stage has to exist
        else:
            data, held_out = loop.split(recipe, *read_split(pack, "train"))
            done = loop.train(
                recipe, this.network, model, data, held_out,
                seed=seed, device=device, checkpoint=saved, key=run.state(device), on_epoch=run.log,
            )  # fmt: skip
            weights.save_weights(folder / "weights.safetensors", done.state, done.precision)
            stage.write_csv(curve, done.curve)
        stage.write_json(folder / "metrics.json", done.metrics())
        shown = [curve, folder / "metrics.json"]
        run.finish(outputs=[folder / "weights.safetensors"], shown=shown, metrics=done.metrics())
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
