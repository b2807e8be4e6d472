"""Train one model: train.py MODEL -> models/MODEL/{weights.safetensors,curve.csv,metrics.json}."""

from pathlib import Path

from advgrad import stage


def train(name: str) -> None:
    settings, this = stage.model(name)
    recipe, pack, folder = this.training, Path("data", f"{this.dataset}.safetensors"), Path("models", name)
    params = this.model_dump(include={"dataset", "network", "training", "seed"})
    with stage.tracked("train", name, settings, params=params, inputs=[pack], paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.data.pack import read_split
        from advgrad.draws import seeded
        from advgrad.models import registry, weights
        from advgrad.training import loop

        seed = this.seed + recipe.seed
        with seeded(seed, "init"):
            model = registry.build(this.network, this.dataset)
        registry.check_device(this.network, model, device)
        data, held_out = loop.split(recipe, *read_split(pack, "train"))
        saved = Path("checkpoints", name)
        done = loop.train(
            recipe, this.network, model, data, held_out,
            seed=seed, device=device, checkpoint=saved, key=run.state(device), on_epoch=run.log,
        )  # fmt: skip
        weights.save_weights(folder / "weights.safetensors", done.state, done.precision)
        stage.write_csv(folder / "curve.csv", done.curve)
        stage.write_json(folder / "metrics.json", done.metrics())
        shown = [folder / "curve.csv", folder / "metrics.json"]
        run.finish(outputs=[folder / "weights.safetensors"], shown=shown, metrics=done.metrics())
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
