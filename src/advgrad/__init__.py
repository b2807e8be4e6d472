"""Gradient-based attacks and adversarial training: three papers, rebuilt from parameter files."""

__version__ = "0.1.0"
