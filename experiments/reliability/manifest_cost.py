"""What the manifest costs: the seconds of a processor that it takes, as a share of those of the first figure's run.

python -m experiments.reliability.manifest_cost
"""

import pathlib
import tempfile
import time
from typing import Any
from unittest import mock

import dynamics.cli
from dynamics.runs.manifest import Manifest

CONFIG = pathlib.Path(__file__).parents[2] / "configs/cooccurrence/figure1.py"


def main() -> None:
    """Run, and print the share."""
    spent = 0.0

    def timed(function: Any) -> Any:
        def call(*inputs: Any) -> Any:
            nonlocal spent
            begin = time.thread_time()
            result = function(*inputs)
            spent += time.thread_time() - begin
            return result

        return call

    with tempfile.TemporaryDirectory() as folder:
        # Every line of the manifest is written by one of these, `writing` included.
        patches = mock.patch.multiple(
            Manifest, begin=timed(Manifest.begin), add=timed(Manifest.add), announce=timed(Manifest.announce)
        )
        with patches:
            begin = time.process_time()
            command = ["dynamics", "run", f"--config={CONFIG}", f"--workdir={folder}", "--config.figures="]
            assert dynamics.cli.main(command) == 0
            whole = time.process_time() - begin
    print(f"cost of the manifest: {spent:.3f} of {whole:.1f} seconds of a processor, {100 * spent / whole:.2f} %")


if __name__ == "__main__":
    main()
