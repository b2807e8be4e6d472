"""One MLflow run per executed stage, without MLflow in the stage.

A stage appends events to a file of its own under .advgrad/spool (spool.py). One background process per project
(drain.py) copies them into MLflow (store.py) while stages run: there is one writer, so stages never wait for each
other or for MLflow. What DVC restored instead of running is added afterwards (restored.py).
"""

from advgrad.tracking.drain import drain_now, start
from advgrad.tracking.restored import sync
from advgrad.tracking.spool import StageRun, flatten, stage_run

__all__ = ["StageRun", "drain_now", "flatten", "stage_run", "start", "sync"]
