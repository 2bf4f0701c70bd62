"""The command line: one line and exit code 2 for bad input, nothing written; the other exit codes."""

import pathlib
import traceback

import pytest
from conftest import ROOT, small_config

import dynamics
import dynamics.cli
from dynamics.cli.commands import run_name
from dynamics.cli.modules import config_of

FIGURE1 = f"--config={ROOT}/configs/cooccurrence/figure1.py"
SMOKE = FIGURE1 + ":smoke"
THEORY = f"--config={ROOT}/configs/cooccurrence/theory.py:smoke"

FEW = "--config.probes=('loss', 'margin')"

BAD = {
    "no config": ([], "--config = None: must be FILE[:variant]"),
    "missing file": (["--config=nosuch.py"], "--config: no such file: 'nosuch.py'"),
    "variant": ([FIGURE1 + ":nosuch"], "dynamics: variant = 'nosuch': must be one of kaiming_normal,"),
    "flag": ([SMOKE, "--wrkdir=x"], "Unknown command line flag 'wrkdir'. Did you mean: workdir ?\n"),
    "beginning of a flag": ([SMOKE, "--nam=x"], "Unknown command line flag 'nam'. Did you mean: name ?\n"),
    "flag without a value": (["--config"], "argument --config: expected one argument\n"),
    "argument": ([SMOKE, "extra"], "argument = 'extra': is one too many"),
    "unknown key": (
        [SMOKE, "--config.task.sampels=6"],
        "task.sampels = '6': unknown key; did you mean 'samples'? allowed: length,",
    ),
    "unknown group": ([SMOKE, "--config.tsak.samples=6"], "tsak.samples = '6': unknown key; did you mean 'task'?"),
    "key of a value": ([SMOKE, "--config.seed.x=6"], "seed.x = '6': seed is a value"),
    "integer": ([SMOKE, "--config.task.samples=many"], "task.samples = 'many': must be an integer"),
    "number": ([SMOKE, "--config.times.stop=soon"], "times.stop = 'soon': must be a number"),
    "not finite": ([SMOKE, "--config.times.stop=nan"], "times.stop = nan: must be a finite number"),
    "counts": ([SMOKE, "--config.task.samples=20"], "task.samples = 20: must be a positive multiple of 6"),
    "short": ([SMOKE, "--config.task.length=2"], "task.length = 2: must be at least 3"),
    "vocabulary": ([SMOKE, "--config.task.vocabulary=3"], "task.vocabulary = 3: must be at least 4"),
    "distinct": (
        [THEORY, "--config.task.vocabulary=8"],
        "task.vocabulary = 8: must be at least 23 (3 + 20 random positions)",
    ),
    "words": ([SMOKE, "--config.task.words=some"], "task.words = 'some': must be 'uniform' or 'distinct'"),
    "task": ([SMOKE, "--config.task.name=xor"], "task.name = 'xor': must be one of 'cooccurrence'"),
    "model": ([SMOKE, "--config.model.name=gpt"], "model.name = 'gpt': must be one of 'one_layer'"),
    "width": ([SMOKE, "--config.model.width=0"], "model.width = 0: must be at least 1"),
    "init": ([SMOKE, "--config.init.name=xavier"], "init.name = 'xavier': must be 'normal', "),
    "std missing": ([SMOKE, "--config.init.name=normal"], "init.std = None: must be positive"),
    "std unread": ([SMOKE, "--config.init.std=0.1"], "init.std = 0.1: is read by name='normal' only"),
    "std negative": ([THEORY, "--config.init.std_of.W=-1.0"], "init.std_of.W = -1.0: must be positive"),
    "width of digits": ([SMOKE, f"--config.model.width={'1' * 5000}"], "must fit into 64 bits"),
    "eta": ([SMOKE, "--config.laws.gd.learning_rate=0.0"], "laws.gd.learning_rate = 0.0: must be positive"),
    "eta alone": (
        [SMOKE, "--config.laws.gd.learning_rate=0.007"],
        "laws.gd.learning_rate = 0.007: must divide the largest",
    ),
    "tolerance": ([SMOKE, "--config.laws.flow.rtol=-1e-6"], "laws.flow.rtol = -1e-06: must be positive"),
    "solver": (
        [SMOKE, "--config.laws.flow.solver=rk4"],
        "laws.flow.solver = 'rk4': must be 'auto', 'tsit5', 'dopri8' or 'rkc2'",
    ),
    "batch": (
        [SMOKE, "--config.laws.sgd.batch_size=13", FEW],
        "laws.sgd.batch_size = 13: must be at most the 12 samples",
    ),
    "order": (
        [SMOKE, "--config.times.spacing=given", "--config.times.given=(2.0, 1.0)"],
        "times.given = [2.0, 1.0]: must be positive and increasing",
    ),
    "off the grid": (
        [SMOKE, "--config.times.spacing=given", "--config.times.given=(0.015, 1.0)"],
        "times.given = 0.015: must be multiples",
    ),
    "too many times": ([SMOKE, "--config.times.stop=0.1"], "times.count = 20: must leave room"),
    "start": ([SMOKE, "--config.times.start=50.0"], "times.start = 50.0: must lie between 0 and stop"),
    "probe": ([SMOKE, "--config.probes=('loss', 'sharpnes')"], "probes = 'sharpnes': must be among "),
    "kept words": ([SMOKE, "--config.words=0"], "words = 0: must be at least 1"),
    "checkpoints": ([SMOKE, "--config.checkpoints=21"], "checkpoints = 21: must be 1 to 20"),
    "dtype": ([SMOKE, "--config.dtype=bfloat16"], "dtype = 'bfloat16': must be 'float64' or 'float32'"),
    "figures": ([SMOKE, "--config.figures=no.such"], "figures = 'no.such': must be a module"),
    "mirror": ([SMOKE, "--config.wandb.mode=on"], "wandb.mode = 'on': must be 'offline', 'online' or 'disabled'"),
    "certify": ([SMOKE, "--config.certify=perhaps"], "perhaps"),
    "certified beyond float64": (
        [SMOKE, "--config.certify=True", "--config.laws.flow.rtol=1e-12"],
        "laws.flow.rtol = 1e-12: must be at least 1e-11 with certify",
    ),
    "run name": ([SMOKE, "--name=../up"], "name = '../up': must be one name of letters,"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(tmp_path, capsys, arguments, message):
    assert dynamics.cli.main(["dynamics", "run", f"--workdir={tmp_path}/runs", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("dynamics: "), err
    assert message.replace("[2.0, 1.0]", "(2.0, 1.0)") in err, err
    assert not list(tmp_path.iterdir())


HEAD = "import dynamics\n"
BAD_FILES = {
    "key": (
        HEAD + "def get_config():\n    config = dynamics.base()\n    config.sed = 1\n    return config\n",
        "sed = 1: ",
    ),
    "law": (
        HEAD + "def get_config():\n    config = dynamics.base()\n    config.laws.gd = 3\n"
        "    config.task = {'name': 'bag', 'samples': 3, 'length': 2, 'vocabulary': 3}\n"
        "    config.model = {'name': 'transformer', 'width': 4}\n    return config\n",
        "laws.gd = 3: must be a group of keys, its name one of 'flow', ",
    ),
    "no function": (HEAD, "--config = '{file}': must define get_config()"),
    "no config": (
        "def get_config():\n    return 3\n",
        "--config = '{file}': its get_config() must return a ConfigDict",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_config_file(tmp_path, capsys, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert dynamics.cli.main(["dynamics", "run", f"--config={file}", f"--workdir={tmp_path}/runs"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("dynamics: "), err
    assert message.format(file=file) in err, err
    assert not (tmp_path / "runs").exists()


BUGS = {
    "exception": (HEAD + "def get_config():\n    return 1 / 0\n", ZeroDivisionError, 3),
    "key": (HEAD + "def get_config():\n    return {}['pop']\n", KeyError, 3),
    "syntax": (HEAD + "def get_config()\n    return 1\n", SyntaxError, 2),
    "import": ("import nosuch\n", ModuleNotFoundError, 1),
    "a file it reads": (HEAD + "def get_config():\n    return open('/no/such')\n", FileNotFoundError, 3),
    "part": (
        HEAD + "def get_config():\n    config = dynamics.base()\n    config.task = 3\n    return config\n",
        TypeError,
        4,
    ),
}


@pytest.mark.parametrize(("text", "kind", "line"), BUGS.values(), ids=BUGS.keys())
def test_a_bug_in_a_config_file_keeps_its_traceback(tmp_path, capsys, text, kind, line):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(kind) as raised:
        dynamics.cli.main(["dynamics", "run", f"--config={file}", f"--workdir={tmp_path}/runs"])
    frames = traceback.extract_tb(raised.value.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if kind is SyntaxError:
        places.append((raised.value.filename, raised.value.lineno))
    assert (str(file), line) in places
    assert capsys.readouterr().err == "" and not (tmp_path / "runs").exists()


def test_an_error_of_the_machine_is_one_line(tmp_path, capsys):
    """Not a user's code, but a folder that is a file, raises it."""
    (tmp_path / "runs").touch()
    flags = [f"--workdir={tmp_path}/runs", "--config.figures=", "--config.wandb.mode=disabled"]
    assert dynamics.cli.main(["dynamics", "run", SMOKE, *flags]) == 1
    err = capsys.readouterr().err
    assert err.startswith("dynamics: [Errno") and err.count("\n") == 1


def test_a_variant_that_a_config_file_does_not_take(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def get_config():\n    return 3\n")
    assert dynamics.cli.main(["dynamics", "run", f"--config={tmp_path}/mine.py:wide"]) == 2
    assert "mine.py:wide': get_config() of it: too many positional arguments\n" in capsys.readouterr().err


def test_flags_and_values_may_be_two_words():
    words = ["sweep", "--config.seed=1", "--config", "mine.py:wide", "--workdir", "elsewhere", "--dry-run"]
    arguments = dynamics.cli.parsed(words)
    assert (arguments.config, arguments.workdir, arguments.dry_run) == ("mine.py:wide", pathlib.Path("elsewhere"), True)
    assert arguments.overrides == ["--config.seed=1"]


def test_a_config_file_is_executed_once(tmp_path):
    file, log = tmp_path / "mine.py", tmp_path / "log"
    file.write_text(f"import dynamics\nopen({str(log)!r}, 'a').write('x')\nget_config = dynamics.base\n")
    _, config = config_of(dynamics.cli.parsed(["run", f"--config={file}", "--config.seed=3", "--config.certify"]))
    assert log.read_text() == "x" and config.seed == 3 and config.certify


def test_a_name_that_exists(smoke, capsys):
    before = sorted(smoke.path.rglob("*"))
    workdir = f"--workdir={smoke.path.parent}"
    assert dynamics.cli.main(["dynamics", "run", SMOKE, workdir, "--name=smoke"]) == 2
    assert f"name = 'smoke': exists in {smoke.path.parent} and has ended; choose another" in capsys.readouterr().err
    assert sorted(smoke.path.rglob("*")) == before


def test_nothing_to_certify():
    config = small_config(certify=True)
    del config["laws"]["flow"]
    with pytest.raises(dynamics.ConfigError, match="certify = True: needs a flow among the laws"):
        dynamics.Experiment.from_config(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: run | compare | "),
        (["rnu"], "invalid choice: 'rnu'"),
        (["show"], "the following arguments are required: RUN"),
        (["ls", "--config.seed=1"], "Unknown command line flag 'config.seed'"),
        (["sweep", "status"], "the following arguments are required: DIR"),
        (["new", "paper", "one", "two"], "argument = 'two': "),
        (["sweep", "--fail-fst"], "Unknown command line flag 'fail-fst'. Did you mean: fail-fast ?"),
        (["claims", "--retry-failed"], "Unknown command line flag 'retry-failed'.\n"),
    ],
)
def test_bad_words(capsys, words, message):
    assert dynamics.cli.main(["dynamics", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("dynamics: ") and message in err, err


ELSEWHERE = (
    "must be a folder of experiments/ with a claims.py; the shipped papers are in the repository, not in the installed "
    "package; elsewhere, --module=any.module"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], f"paper = 'nosuch': {ELSEWHERE}"),
        (
            ["cooccurrence", "--name=a/b"],
            "name = 'a/b': must be one name of letters, digits and '_-+.,= ', a letter or digit first, up to 200 bytes",
        ),
    ],
)
def test_bad_claims(tmp_path, capsys, arguments, message):
    assert dynamics.cli.main(["dynamics", "claims", *arguments, f"--workdir={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"dynamics: {message}\n" and not list(tmp_path.iterdir())


def test_not_a_run(tmp_path, capsys):
    assert dynamics.cli.main(["dynamics", "show", str(tmp_path)]) == 2
    assert "must be the folder of a run" in capsys.readouterr().err


def test_ls_and_show(smoke, capsys):
    assert dynamics.cli.main(["dynamics", "ls", f"--workdir={smoke.path.parent}"]) == 0
    listing = capsys.readouterr().out
    assert "smoke" in listing and "done" in listing and "flow gd sgd" in listing
    assert dynamics.cli.main(["dynamics", "show", str(smoke.path)]) == 0
    shown = capsys.readouterr().out
    assert "reached the last time" in shown and "parameters of flow at t = 0," in shown


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help(capsys, arguments):
    try:
        code = dynamics.cli.main(["dynamics", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 0 and "--config" in capsys.readouterr().out


def test_figures_are_drawn_again_byte_for_byte(smoke, capsys):
    names = ["figure1a.png", "figure1a.pdf", "figure1b.png", "figure1b.pdf", "scores_strip.png", "scores.gif"]
    before = {name: (smoke.path / "figures" / name).read_bytes() for name in names}
    assert dynamics.cli.main(["dynamics", "figures", str(smoke.path)]) == 0
    printed = capsys.readouterr().out.split()
    assert {pathlib.Path(line).name for line in printed} >= set(names)
    assert before == {name: (smoke.path / "figures" / name).read_bytes() for name in names}


def test_a_failed_law_is_exit_1(tmp_path, capsys):
    flags = [FEW, "--config.laws.flow.max_steps=3", "--config.figures=", "--config.wandb.mode=disabled"]
    assert dynamics.cli.main(["dynamics", "run", SMOKE, f"--workdir={tmp_path}", "--name=x", *flags]) == 1
    assert "could not meet the tolerance" in capsys.readouterr().out
    record = dynamics.load(tmp_path / "x")
    assert record.status["state"] == "failed" and len(record["flow"].t) >= 1 and len(record["gd"].t) == 21


def test_runs_are_numbered(tmp_path):
    (tmp_path / "figure1-1").mkdir()
    arguments = dynamics.cli.parsed(["run", SMOKE, f"--workdir={tmp_path}"])
    assert run_name(arguments, config_of(arguments)[0].stem) == "figure1-2"
