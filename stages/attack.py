"""Attack one model: attack.py MODEL -> results/MODEL/{outcomes.safetensors,metrics.json}."""

from pathlib import Path

from advgrad import stage


def attack(name: str) -> None:
    settings, run_config = stage.model(name)
    device = stage.device(settings)  # before anything imports torch

    from advgrad.attacks.evaluate import evaluate
    from advgrad.data.batches import to_device
    from advgrad.data.pack import read_split
    from advgrad.models import registry, weights

    pack, folder = Path("data", f"{run_config.dataset}.safetensors"), Path("results", name)
    trained = Path("models", name, "weights.safetensors")
    params = stage.flat(run_config, "evaluation", "network", "dataset", "seed")
    with stage.tracked("attack", name, settings, params=params, inputs=[pack, trained]) as run:
        model = registry.build(run_config.network, run_config.dataset)
        weights.load_weights(trained, model)
        images, labels = to_device(*read_split(pack, "test"), device)
        with stage.bar() as progress:
            outcomes = evaluate(
                model, images, labels, run_config.evaluation, run_config.network,
                seed=run_config.seed, device=device, progress=progress,
            )  # fmt: skip
        metrics = outcomes.metrics(run_config.evaluation)
        stage.write_arrays(folder / "outcomes.safetensors", outcomes.arrays())
        stage.write_json(folder / "metrics.json", metrics)
        run.finish(outputs=[folder / "outcomes.safetensors"], shown=[folder / "metrics.json"],
                   metrics=outcomes.rates())  # fmt: skip


if __name__ == "__main__":
    stage.main(attack)
