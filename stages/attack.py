"""Attack one model: attack.py MODEL -> results/MODEL/{outcomes.safetensors,metrics.json}."""

from pathlib import Path

from advgrad import stage


def attack(name: str) -> None:
    settings, this = stage.model(name)
    pack, folder = Path("data", f"{this.dataset}.safetensors"), Path("results", name)
    trained, saved = Path("models", name, "weights.safetensors"), Path("checkpoints", f"{name}.attack")
    params = this.model_dump(include={"dataset", "network", "evaluation", "seed"})
    with stage.tracked("attack", name, settings, params=params, inputs=[pack, trained], paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.attacks.evaluate import evaluate, summary
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        model = registry.build(this.network, this.dataset)
        registry.check_device(this.network, model, device)
        weights.load_weights(trained, model)
        images, labels = to_device(*read_split(pack, "test"), device)
        store = checkpoint.Store(folder=saved, key=run.state(device))
        with stage.bar() as progress:
            outcomes = evaluate(
                model, images, labels, this.evaluation, this.network,
                seed=this.seed, device=device, progress=progress, store=store,
            )  # fmt: skip
        metrics = summary(outcomes, this.evaluation) | {"training": {"precision": weights.trained_with(trained)}}
        stage.write_arrays(folder / "outcomes.safetensors", outcomes.arrays())
        stage.write_json(folder / "metrics.json", metrics)
        run.finish(outputs=[folder / "outcomes.safetensors"], shown=[folder / "metrics.json"], metrics=metrics)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(attack)
