"""Make the small run and the small sweep of today's format, which a test loads: format-N.tar.xz beside this file.

    python tests/records/make.py

To be run when dynamics.runs.manifest.FORMAT changes; the archive of the format before is then deleted.
"""

import pathlib
import platform
import sys
import tarfile
import tempfile

import dynamics.cli
from dynamics.runs import origin
from dynamics.runs.manifest import FORMAT

CONFIG = '''"""A config of a few numbers."""

import dynamics


def get_config():
    config = dynamics.base()
    config.task = {"name": "cooccurrence", "samples": 6, "length": 3, "vocabulary": 5, "words": "uniform"}
    config.model = {"name": "one_layer", "width": 2, "neurons": 2, "heads": 1}
    config.laws = {"flow": {"name": "flow"}, "adam": {"name": "adam", "learning_rate": 0.1}}
    config.times.update(start=0.5, stop=1.0, count=2)
    config.update(checkpoints=1, probes=("loss", "margin"))
    config.wandb.mode = "disabled"
    return config


def get_sweep():
    return dynamics.seeds(2)
'''


def main() -> None:
    """Make both, and pack them."""
    platform.node = lambda: "machine"  # type: ignore[assignment]
    origin._processor = lambda: "processor"  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tiny.py"
        file.write_text(CONFIG)
        for command in ("run", "sweep"):
            words = ["dynamics", command, f"--config={file}", f"--workdir={folder}", f"--name={command}"]
            sys.argv = words
            assert dynamics.cli.main(words) == 0
        with tarfile.open(pathlib.Path(__file__).with_name(f"format-{FORMAT}.tar.xz"), "w:xz") as archive:
            for command in ("run", "sweep"):
                archive.add(pathlib.Path(folder) / command, command, filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return None if "figures" in member.name.split("/") else member


if __name__ == "__main__":
    main()
