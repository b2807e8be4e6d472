"""The attacks. `pgd` and `linbp` are for networks of one's own."""

from advgrad.attacks.own import Attacked, linbp, pgd

__all__ = ["Attacked", "linbp", "pgd"]
