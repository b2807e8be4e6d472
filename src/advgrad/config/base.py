"""The base of every schema."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every schema: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
