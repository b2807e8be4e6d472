"""A figure with a panel of every kind, and a folder of results that it is drawn from."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SPEC = """
paper: attack-bnn
figure: 1
title: "PGD & what it does"
note: the grid is ours
panels:
  a:
    title: iterations
    kind: cells
    x: {label: T, log: true}
    y: {label: accuracy, low: 0, high: 100}
    defaults: {metric: accuracy, outcome: steps/plain}
    marks: [1, 5, 20]
    series:
      bnn-wq: {source: {model: wq}}
      missing: {source: {reason: not built yet}}
  b:
    title: radius
    kind: cells
    x: {label: eps}
    y: {label: accuracy}
    defaults: {metric: accuracy, outcome: "radius_{x}/plain", mark: 3}
    at: [0.5, 2]
    series:
      bnn-wq: {source: {model: wq}}
      flips: {source: {metric: value, model: mlp, value: "iprop.pgd_njs.{x}", times: 100}}
  c:
    title: boxes
    kind: bars
    x: {label: network}
    y: {label: accuracy}
    defaults: {metric: accuracy, outcome: radius_2/plain, mark: 3}
    groups: {RN18: {fields: {net: wq}}, VGG: {fields: {net: vgg}}}
    series:
      white: {source: {model: "{net}"}}
      black: {source: {model: "{net}", outcome: radius_0.5/plain}}
  d:
    title: beta
    kind: sweep
    x: {label: beta, log: true}
    y: {label: norm}
    model: mlp
    series:
      psi: {column: psi_l2}
      jsv: {column: jsv_mean}
  e:
    title: training
    kind: curves
    x: {label: epoch}
    y: {label: accuracy}
    model: walk
    times: 100
    series:
      BP: {column: best_test_accuracy, of: bp-x0.1}
      "BP, now": {column: test_accuracy, of: bp-x0.1, like: BP}
      LinBP: {column: test_accuracy, of: linbp}
      loss: {column: test_loss, of: bp-x0.1, times: 2}
      gone: {column: test_accuracy, of: bp-x10}
      diverged: {column: test_loss, of: linbp}
  f:
    title: PGD-50
    kind: trainings
    x: {label: epoch}
    y: {label: "accuracy (%)"}
    times: 100
    series:
      RAT: {column: pgd50_accuracy, of: rat}
      GAAT: {column: pgd50_accuracy, of: gaat}
"""
FILES = {
    "analyses/attack-bnn/mlp.csv": "beta,psi_l2,jsv_mean\n0.01,0.9,0.5\n1,0.123456789,nan\n100,0,inf\n",
    "analyses/attack-bnn/walk.csv": """\
series,epoch,test_loss,test_accuracy,test_accuracy_low,test_accuracy_high,best_test_accuracy
bp-x0.1,1,2.5,0.5,0.4,0.6,0.5
bp-x0.1,2,inf,0.25,,,0.5
linbp,1,,0.125,,,
linbp,2,,,,,
linbp,4,,0.75,,,
""",
    "trainings/attack-bnn/mnist/rat.csv": "epoch,train_loss,pgd50_accuracy\n1,2.5,0.25\n2,nan,nan\n",
    "trainings/attack-bnn/mnist/gaat.csv": "epoch,train_loss,pgd50_accuracy\n3,1,\n4,1,0.125\n",
}  # fmt: skip
FLIPS = {"0.5": {"value": 0.25, "low": 0.1, "high": 0.5}, "2": {"value": 1.0, "low": 0.8, "high": 1.0}}
STEPS = {"steps/plain": [1, 5, 20], "radius_0.5/plain": [3], "radius_2/plain": [3]}
RIGHT = {"steps/plain": (4, 3, 1), "radius_0.5/plain": (2,), "radius_2/plain": (1,)}  # of five images, at each mark


def write_analysis(site: Path, flips: dict[str, dict[str, float]]) -> None:
    text = json.dumps({"iprop": {"n": 7, "pgd_njs": flips}})
    (site / "analyses/attack-bnn/mlp.json").write_text(text, encoding="utf-8")


def write_outcomes(site: Path, model: str, steps: dict[str, list[int]]) -> None:
    folder = site / "outcomes" / "attack-bnn" / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.array([[[1] * k + [0] * (5 - k) for k in counts]], np.uint8)  # (1, marks, 5)
        for name, counts in RIGHT.items()
    }
    save_file({"clean": np.ones(5, np.uint8), **arrays}, folder / f"{model}.safetensors")
    runs = {name: {"steps": marks, "restarts": 1} for name, marks in steps.items()}
    (folder / f"{model}.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")


def write_site(site: Path) -> None:
    """reports/SCALE in site, and the figure's spec."""
    (site / "attack-bnn-1.yaml").write_text(SPEC, encoding="utf-8")
    for model in ("wq", "vgg"):
        write_outcomes(site, model, STEPS)
    for path, text in FILES.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, encoding="utf-8")
    write_analysis(site, FLIPS)
