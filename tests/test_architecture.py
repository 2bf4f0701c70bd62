"""Imports point one way; each library of the outer world has one door."""

import ast
import pathlib
import re

from conftest import ROOT

# Every floor imports only itself and floors before it.
FLOORS = (
    ("environment", "hints", "mistakes", "config", "files", "plots", "notebook", "tasks", "models", "objectives"),
    ("trajectory", "analysis", "probes", "laws"),
    ("runs",),
    ("sweeps",),
    ("studies", "figures", "report"),
    ("cli",),
)
DOORS = {
    "zarr": {"runs"},
    "orbax": {"runs"},
    "xarray": {"runs", "sweeps", "studies"},
    "submitit": {"sweeps"},
    "wandb": {"runs"},
    "matplotlib": {"figures"},
    "PIL": {"figures"},
    "bokeh": {"plots", "notebook", "report"},
    "jinja2": {"report"},
    "absl": {"cli"},
    "rich": {"cli"},
    "diffrax": {"laws"},
    "optax": {"laws"},
}
# Regular expressions; what only one paper speaks of stands in its folders of experiments/ and configs/.
WORDS_OF_PAPERS = {
    "cooccurrence": (
        r"\bT[12]\b|_t1\b",
        r"\bPhase [12]\b|\bphases?\b",
        r"(?i)sigma_?[01]\b",
        r"σ[01]",
        r"score_change|score_table",
        r"igure 1|(?i:figure_?1)",
        r"name=.theory.",
        r"\bwidths: m\b|\"width\", \"seed\"",
        r"\b(Theorem|Lemma|Corollary|Condition) \d",
    ),
    "xor": (r"(?i)exactly[_-]one\b", r"(?i)\bxor\b"),
    "qk_eigenspectrum": (
        r"2402\.02098",
        r"(?i)LocAteR",
        r"(?i)\beigenspectr|\blocali[sz]",
        r"(?i)\b(rank|entropy) collapse|\bcollapses\b",
        r"(?i)\bcrossing probabilit",
    ),
    "sink_vs_diagonal": (
        r"2605\.08453",
        r"(?i)sinks? (vs|versus|against)\b",
        r"(?i)\boversmooth",
        r"(?i)\bhard[ -]switch",
    ),
    "positional_semantic": (
        r"2402\.03902",
        r"(?i)\bsemantic (attention|minimum)",
        r"(?i)state evolution",
        r"(?i)\brank[_ ]one[_ ]head",
    ),
}
OF_ANY_PAPER = r"(?i)\b(the|this) paper's\b|\bthe appendix's\b"
# What implements equations of a paper cites it.
CITED = {"2410.09605": {"tasks/cooccurrence.py", "models/one_layer.py", "models/gram.py"}}
WORDS_OF_THE_FIRST_TASK = (r"μ[123]\b", r"(?i)\bsignal words?\b|\bcommon (token|word)\b", r"\bI[1-4]\b")


def sources():
    for file in sorted((ROOT / "dynamics").rglob("*.py")):
        yield file, ast.parse(file.read_text())


def imports():
    for file, tree in sources():
        part = file.relative_to(ROOT / "dynamics").parts[0].removesuffix(".py")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((part, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == "dynamics":
                yield from ((part, f"dynamics.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield part, node.module


def test_direction():
    for part, module in imports():
        root, _, rest = module.partition(".")
        # A template is a paper: it uses the library as any user does.
        if part.startswith("__") or part == "templates" or root != "dynamics":
            continue
        floor = next(i for i, names in enumerate(FLOORS) if part in names)
        allowed = [name for names in FLOORS[: floor + 1] for name in names]
        assert rest.split(".")[0] in allowed, f"{part} imports {module}"


def test_doors():
    for part, module in imports():
        allowed = DOORS.get(module.partition(".")[0])
        assert allowed is None or part in allowed, f"{part} imports {module}"


def test_no_paper_in_the_library():
    papers = {claims.parent.name for claims in (ROOT / "experiments").glob("*/claims.py")}
    assert set(WORDS_OF_PAPERS) == papers, "every paper has its words here"
    folders = [rf"\b(experiments|configs)[/.]{paper}\b" for paper in papers]
    for file in (ROOT / "dynamics").rglob("*.py"):
        text = file.read_text()
        for word in (*(word for words in WORDS_OF_PAPERS.values() for word in words), OF_ANY_PAPER, *folders):
            assert not re.search(word, text), f"{file} says {word!r}"
        for number, citing in CITED.items():
            assert number not in text or str(file.relative_to(ROOT / "dynamics")) in citing, f"{file} cites {number}"
        if file.name != "cooccurrence.py" or file.parent.name != "tasks":
            for word in WORDS_OF_THE_FIRST_TASK:
                assert not re.search(word, text), f"{file} says {word!r}"
        # The command line knows where experiments are; nothing else knows that there are any.
        assert "experiments." not in text or "cli" in file.parts, file


def test_nobody_asks_by_hasattr():
    """Tasks, models, laws and probes say what they can do; nobody reads an attribute that they may lack."""
    for file, tree in sources():
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called != "hasattr", f"{file}:{node.lineno} {ast.unparse(node)}"
            if called == "getattr" and len(node.args) == 3:  # types of Python's own in hints.py
                asked = ast.unparse(node.args[0])
                assert asked == "hint", f"{file}:{node.lineno} {ast.unparse(node)}"


def test_no_function_has_more_than_six_parameters():
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                of = node.args
                named = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
                names = [argument.arg for argument in named if argument.arg not in ("self", "cls")]
                assert len(names) <= 6, f"{file}:{node.lineno} {names}"


def test_no_machine_in_the_lock():
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert pathlib.Path(ROOT / "requirements.lock").read_text().count("--hash=sha256:") > 100
