"""Attack one model: attack.py NAME -> results/NAME/{outcomes.safetensors,metrics.json}.

NAME is a model, or further attacks on one; with a surrogate they are made on that and tried on the model.
"""

from pathlib import Path

from advgrad import config, stage

PARAMS = {"model", "weights", "dataset", "network", "evaluation", "surrogate", "surrogate_network", "seed"}


def kind(this: config.Run) -> str:
    """The DVC stage that NAME belongs to."""
    return "transfer" if this.surrogate else "attack" if this.name == this.model else "further"


def attack(name: str) -> None:
    settings, this = stage.model(name)
    pack, folder, saved = Path("data", f"{this.dataset}.safetensors"), Path("results", name), Path("checkpoints")
    saved = saved / f"{name}.attack"
    networks = {this.model: this.network}  # the model's own first
    if this.surrogate is not None and this.surrogate_network is not None:
        networks[this.surrogate] = this.surrogate_network
    trained = {key: Path("models", key, "weights.safetensors") for key in networks}
    params, inputs = this.model_dump(include=PARAMS), [pack, *trained.values()]
    with stage.tracked(kind(this), name, settings, params=params, inputs=inputs, paper=this.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.attacks.evaluate import evaluate, summary
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        models = {key: registry.build(network, this.dataset) for key, network in networks.items()}
        for key, network in networks.items():
            registry.check_device(network, models[key], device)
            weights.load_weights(trained[key], models[key], this.weights if key == this.model else "last")
        images, labels = to_device(*read_split(pack, "test"), device)
        store = checkpoint.Store(folder=saved, key=run.state(device))
        with stage.bar() as progress:
            outcomes = evaluate(
                models[this.model], images, labels, this.evaluation, this.network,
                seed=this.seed, device=device, progress=progress, store=store,
                surrogate=models.get(this.surrogate or ""), surrogate_network=this.surrogate_network,
            )  # fmt: skip
        training = weights.training_of(trained[this.model])
        metrics = {"model": this.model, **summary(outcomes, this.evaluation), "training": training}
        stage.write_arrays(folder / "outcomes.safetensors", outcomes.arrays())
        stage.write_json(folder / "metrics.json", metrics)
        run.finish(outputs=[folder / "outcomes.safetensors"], shown=[folder / "metrics.json"], metrics=metrics)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(attack)
