"""Data distributions by name."""

from dynamics.tasks.bag import Bag
from dynamics.tasks.cooccurrence import Cooccurrence
from dynamics.tasks.markov import MarkovChain
from dynamics.tasks.task import Batch, Task
from dynamics.tasks.text import Text
from dynamics.tasks.trigger import TriggerAveraging

__all__ = ["TASKS", "Bag", "Batch", "Cooccurrence", "MarkovChain", "Task", "Text", "TriggerAveraging"]

TASKS: dict[str, type] = {
    "cooccurrence": Cooccurrence,
    "markov": MarkovChain,
    "bag": Bag,
    "text": Text,
    "trigger_averaging": TriggerAveraging,
}
