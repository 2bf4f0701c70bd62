"""Data distributions by name."""

from dynamics.tasks.batch import Batch
from dynamics.tasks.cooccurrence import Cooccurrence

__all__ = ["TASKS", "Batch", "Cooccurrence"]

TASKS = {"cooccurrence": Cooccurrence}
