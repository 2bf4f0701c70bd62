"""Data distributions by name."""

from dynamics.tasks.cooccurrence import Cooccurrence
from dynamics.tasks.task import Batch, Task

__all__ = ["TASKS", "Batch", "Cooccurrence", "Task"]

TASKS: dict[str, type] = {"cooccurrence": Cooccurrence}
