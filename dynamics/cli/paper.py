"""The command `dynamics new paper`: a small working paper, to be changed into one's own."""

import argparse
import importlib.machinery
import importlib.util
import keyword
import pathlib

from dynamics.config import require

TEMPLATE = "dynamics.templates.paper"  # a paper that works where it is; the copy says its own name instead


def paper(arguments: argparse.Namespace) -> int:
    """Write a paper, and print the commands that run it.

    Raises:
        ConfigError: for a name that cannot be that of a new module, and for a folder that exists; nothing is written.
    """
    name, parent = arguments.paper, arguments.folder
    identifier = name.isidentifier() and not keyword.iskeyword(name)
    require(identifier, "NAME", name, "must be a name in Python: letters, digits and _, no digit first, no keyword")
    folder = parent / name
    require(not folder.exists(), "NAME", name, f"must be the name of a new folder, but {folder} exists")
    importable = importlib.util.find_spec(name) or importlib.machinery.PathFinder.find_spec(name, [str(parent)])
    require(importable is None, "NAME", name, "must not be the name of a module that Python finds already")
    require(parent.is_dir(), "--folder", str(parent), "must be an existing folder, in which the folder NAME is made")
    folder.mkdir()
    written = []
    for file in sorted(pathlib.Path(__file__).parents[1].joinpath(*TEMPLATE.split(".")[1:]).iterdir()):
        if file.suffix in (".py", ".md"):
            text = file.read_text().replace(TEMPLATE, name).replace(TEMPLATE.replace(".", "/"), name)
            (folder / file.name).write_text(text)
            written.append(file.name)
    print(f"{folder}: {', '.join(written)}. Run these commands in the folder {parent.resolve()}:")
    print(f"  dynamics run --config={name}/config.py:smoke --name={name}-smoke   # a run in seconds, with its figure")
    print(f"  dynamics figures runs/{name}-smoke   # draw its figure again")
    print(f"  dynamics claims --module={name}.claims   # judge the claim, and the control in which it must fail")
    print(f"what the files are: {folder / 'README.md'}")
    return 0
