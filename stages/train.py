"""Train one model: train.py MODEL -> models/MODEL/{weights.safetensors,curve.csv,metrics.json}."""

from pathlib import Path

from advgrad import stage


def train(name: str) -> None:
    settings, run_config = stage.model(name)
    device = stage.device(settings)  # before anything imports torch

    from advgrad.data.pack import read_split
    from advgrad.models import registry, weights
    from advgrad.training import checkpoint, loop
    from advgrad.training.keys import seeded

    recipe, pack, folder = run_config.training, Path("data", f"{run_config.dataset}.safetensors"), Path("models", name)
    train_data, validation_data = loop.split(recipe, *read_split(pack, "train"))
    params = stage.flat(run_config, "training", "network", "dataset", "seed")
    with stage.tracked("train", name, settings, params=params, inputs=[pack]) as run:
        with seeded(run_config.seed, "init"):
            model = registry.build(run_config.network, run_config.dataset)
        saved = Path("checkpoints", name)
        done = loop.train(
            recipe, run_config.network, model, train_data, validation_data,
            seed=run_config.seed, device=device, checkpoint=saved, key=run.key, on_epoch=run.log,
        )  # fmt: skip
        weights.save_weights(folder / "weights.safetensors", done.state)
        stage.write_csv(folder / "curve.csv", done.curve)
        stage.write_json(folder / "metrics.json", done.metrics())
        run.finish(outputs=[folder / "weights.safetensors"], shown=[folder / "curve.csv", folder / "metrics.json"],
                   metrics=done.metrics())  # fmt: skip
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
