"""What an attack is: a frozen, hashable value that round-trips to YAML."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Norm = Literal["linf", "l2"]
Gradient = Literal["plain", "njs", "hns", "prop1", "linbp", "taylor"]
Loss = Literal["ce", "dlr"]


class AttackSpec(BaseModel):
    """Projected gradient ascent on a loss, from a random start, for a fixed number of steps.

    apgd (Croce and Hein 2020): with momentum, and steps that are halved, each image's own, where progress stalls.

    `eps`, `step` and `start_eps` are in 1/255. With `units: pixels` they measure [0,255] pixels; a
    normalised space divides them by each channel's standard deviation. With `units: space` they measure the
    space itself (1/255 of a normalised unit), as LinBP's released code does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["pgd", "apgd"] = "pgd"  # apgd: Auto-PGD, whose best iterate counts; `step` is its first step
    norm: Norm = "linf"
    eps: float = Field(ge=0)  # radius of the ball
    step: float = Field(ge=0)  # length of one step
    steps: tuple[PositiveInt, ...] = Field(min_length=1)  # outcomes recorded after each; the last ends the run
    space: Literal["pixel", "normalised"] = "pixel"  # where delta, its norm and the gradient live
    units: Literal["pixels", "space"] = "pixels"
    start: Literal["none", "uniform", "image"] = "uniform"  # image: uniform image noise minus x (released L2 code)
    start_eps: float | None = Field(default=None, ge=0)  # half-width of the uniform start; None: eps
    clip: bool = True  # keep x + delta inside the pixel range after each step
    clip_start: bool = False  # ... and at the start
    reading: Literal["as_coded", "as_written"] = "as_written"  # L2 only: released code's loop, or whole-image ball
    beta_at: Literal["start", "clean"] = "start"  # where HNS finds its beta

    loss: Loss = "ce"  # dlr: difference of logits ratio (Croce and Hein 2020)
    temperature: float = Field(default=1.0, gt=0)  # the logits are multiplied by it before the loss

    @model_validator(mode="after")
    def _marks_ascend(self) -> "AttackSpec":
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps must ascend without repeats, not {list(self.steps)}")
        if self.method == "apgd" and (self.norm != "linf" or len(self.steps) != 1):
            raise ValueError("method apgd: wants norm linf and one number of steps, on which its schedule depends")
        return self
