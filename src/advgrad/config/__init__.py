"""Parameter files: their YAML, their schemas, and the effective configuration of a model."""

from advgrad.config.analysis import Clever, Cost, Generation, Iprop, Sweep
from advgrad.config.attack import AttackEntry, AttackSpec, Evaluation, Gradient, Peer, Scaling
from advgrad.config.load import load_curves, load_paper, load_run, load_scale, load_settings, papers, parse, scales
from advgrad.config.schema import Judge, Network, PaperFile, Run, Settings
from advgrad.config.training import AutoAttack, Precision, Residual, Training
from advgrad.config.yaml12 import load_yaml, merge, parse_yaml
