"""Attack one model: attack.py MODEL -> results/MODEL/{outcomes.safetensors,metrics.json}."""

from pathlib import Path

from advgrad import stage


def attack(name: str) -> None:
    settings, this = stage.model(name)
    pack, folder = Path("data", f"{this.dataset}.safetensors"), Path("results", name)
    trained = Path("models", name, "weights.safetensors")
    params = this.model_dump(include={"dataset", "network", "evaluation", "seed"})
    with stage.tracked("attack", name, settings, params=params, inputs=[pack, trained], paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad.attacks.evaluate import evaluate, summary
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        model = registry.build(this.network, this.dataset)
        weights.load_weights(trained, model)
        images, labels = to_device(*read_split(pack, "test"), device)
        with stage.bar() as progress:
            outcomes = evaluate(
                model, images, labels, this.evaluation, this.network, seed=this.seed, device=device, progress=progress
            )
        stage.write_arrays(folder / "outcomes.safetensors", outcomes.arrays())
        stage.write_json(folder / "metrics.json", summary(outcomes, this.evaluation))
        run.finish(
            outputs=[folder / "outcomes.safetensors"],
            shown=[folder / "metrics.json"],
            metrics=summary(outcomes, this.evaluation),
        )


if __name__ == "__main__":
    stage.main(attack)
