"""What is wrong, where, and what was meant: one line, exit code 2, and nothing has run."""

import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lt_cli import LTCLI
from lt_cli.exits import Exit

# Each case: what run.yaml has in it (after what every run needs), words, and the whole message.
CASES: dict[str, tuple[str, list[str], str]] = {
    "an option": (
        "",
        ["--trainer.max_epoch", "3"],
        "lt fit: --trainer.max_epoch: there is no such option. Did you mean "
        "'--trainer.max_epochs'?",
    ),
    "an argument of the trainer": (
        "trainer: {max_epoch: 3}",
        [],
        "lt fit: more.yaml: trainer.max_epoch: trainer has no argument 'max_epoch'. "
        "Did you mean 'max_epochs'?",
    ),
    "a section": (
        "modle: {class_path: toy.Line}",
        [],
        "lt fit: more.yaml: modle: there is no argument 'modle'. Did you mean 'model'?",
    ),
    "a class": (
        "model: {class_path: toy.Lines_}",
        [],
        "lt fit: more.yaml: model.class_path: toy has no 'Lines_'. Did you mean 'Lines'?",
    ),
    "a module path": (
        "model: {class_path: toi.Line}",
        [],
        "lt fit: more.yaml: model.class_path: no module 'toi'. Did you mean 'toy'?",
    ),
    "a class of Lightning's": (
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.EarlyStopping}]}",
        [],
        "lt fit: more.yaml: trainer.callbacks[0].class_path: no module 'lightning'. "
        "Write EarlyStopping.",
    ),
    "a class of Lightning's that has no short name": (
        "model: {class_path: pytorch_lightning.demos.boring_classes.BoringModel}",
        [],
        "lt fit: more.yaml: model.class_path: no module 'pytorch_lightning'. What there is of it "
        "is in lt, as in lt.strategies.DDPStrategy.",
    ),
    "a nested argument": (
        "model: {class_path: toy.Line, init_args: {wieght: 3}}",
        [],
        "lt fit: more.yaml: model.init_args.wieght: toy.Line has no argument 'wieght'. "
        "Did you mean 'weight'?",
    ),
    "a wrong type": (
        "model: {class_path: toy.Line, init_args: {weight: heavy}}",
        [],
        "lt fit: more.yaml: model.init_args.weight: expected float. Received 'heavy'.",
    ),
    "a wrong type for the trainer": (
        "trainer: {max_epochs: some}",
        [],
        "lt fit: more.yaml: trainer.max_epochs: expected int or null. Received 'some'.",
    ),
    "a wrong type in place of what a file says": (
        "trainer: {max_epochs: 3}",
        ["--trainer.max_epochs", "three"],
        "lt fit: trainer.max_epochs: expected int or null. Received 'three'.",
    ),
    "a missing file": (
        "",
        ["--config", "rum.yaml"],
        "lt fit: config: there is no file {folder}/rum.yaml. Did you mean 'run.yaml'?",
    ),
    "a configuration without its option": (
        "",
        ["run.yaml"],
        "lt fit: run.yaml: there is no such option. Did you mean '--config run.yaml'?",
    ),
    "YAML syntax": (
        "model: {class_path: toy.Line\ntrainer: []",
        [],
        "lt fit: more.yaml: line 2, column 8: expected ',' or '}', but got ':'",
    ),
    "a missing argument": (
        "data: {class_path: toy.Data, init_args: {offset: 1.0}}",
        [],
        "lt fit: toy.Data needs the argument data.init_args.batch_size.",
    ),
    "a callback's class": (
        "trainer: {callbacks: [{class_path: toy.Patiense, init_args: {patience: 3}}]}",
        [],
        "lt fit: more.yaml: trainer.callbacks[0].class_path: toy has no 'Patiense'. "
        "Did you mean 'Patience'?",
    ),
    "a callback's argument": (
        "trainer: {callbacks: [{class_path: toy.Patience, init_args: {patiense: 3}}]}",
        [],
        "lt fit: more.yaml: trainer.callbacks[0].init_args.patiense: toy.Patience has no argument "
        "'patiense'. Did you mean 'patience'?",
    ),
    "a class of another kind": (
        "model: {class_path: toy.Data, init_args: {batch_size: 3}}",
        [],
        "lt fit: more.yaml: model.class_path: toy.Data is no module, a class with a step such as "
        "training_step.",
    ),
    "a name without a path": (
        "",
        ["--model", "Zyx"],
        "lt fit: model: no class is known by the name 'Zyx' alone. Write its path, as in "
        "my_package.Zyx.",
    ),
    "a word instead of a number or a class": (
        "trainer: {logger: maybe}",
        [],
        "lt fit: more.yaml: trainer.logger: expected bool or list or a class or null. Received "
        "'maybe'.",
    ),
    "a nested value of a union": (
        "trainer: {callbacks: {class_path: toy.Patience, init_args: {patience: 1, names: 3}}}",
        [],
        "lt fit: more.yaml: trainer.callbacks.init_args.names: expected list or null. Received "
        "'3'.",
    ),
    "one of a few words": (
        "lr_scheduler_config: {interval: epok}",
        [],
        "lt fit: more.yaml: lr_scheduler_config.interval: expected 'epoch' or 'step'. Received "
        "'epok'.",
    ),
    "a value out of range": (
        "trainer: {max_epochs: -7}",
        [],
        "lt fit: max_epochs must be at least 0, or -1 for no limit. Received max_epochs=-7.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_one_line_that_says_where_and_what_was_meant(
    name: str, project: Path, lt: Any
) -> None:
    text, words, message = CASES[name]
    if name == "a class of Lightning's" and find_spec("lt_callbacks") is None:
        pytest.skip("the short names are those of lt-callbacks, which is not here")
    if name.startswith("a class of Lightning's") and find_spec("lightning"):
        pytest.skip("Lightning is installed, and has that class")
    configs = ["--config", "plain.yaml"] if name == "a missing argument" else []
    configs = configs or ["--config", "run.yaml"]
    if text:
        Path("more.yaml").write_text(text)
        configs += ["--config", "more.yaml"]
    if name == "a missing argument":
        configs += ["--model", "toy.Line"]
    code, out, err = lt("fit", *configs, *words)
    assert err == message.replace("{folder}", str(project)) + "\n"
    assert (code, out) == (Exit.USAGE, "")
    assert "toy" not in sys.modules or "validated" not in sys.modules["toy"].seen


def test_an_argument_of_a_class_that_is_not_given(project: Path, lt: Any) -> None:
    message = "lt fit: model: its class is not given. Write --model CLASS before.\n"
    assert lt("fit", "--model.weight", "3") == (Exit.USAGE, "", message)


def test_a_missing_model_is_named(project: Path, lt: Any) -> None:
    remedy = "Or give a configuration that says it: --config FILE."
    message = f"lt fit: required, and not given: --model. {remedy}\n"
    assert lt("fit") == (Exit.USAGE, "", message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fot"], "lt: there is no subcommand 'fot'. Did you mean 'fit'? See lt -h."),
        (["--versoin"], "lt: there is no option '--versoin'. Did you mean '--version'? See lt -h."),
    ],
)
def test_an_unknown_subcommand_is_named(words: list[str], message: str, lt: Any) -> None:
    assert lt(*words) == (Exit.USAGE, "", message + "\n")


def test_a_misspelt_verb_is_named(lt: Any) -> None:
    code, _, err = lt("ckpt", "lst", "folder")
    assert code == Exit.USAGE
    assert err.count("\n") == 1
    assert err.endswith("Did you mean 'list'?\n")


def test_a_value_for_the_target_of_a_link_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import toy

    class Linked(LTCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.link_arguments("data.batch_size", "model.batch_size")

    words = ["--config", "plain.yaml", "--data.batch_size", "3", "--model.batch_size", "4"]
    with pytest.raises(SystemExit) as ended:
        Linked(toy.Line, toy.Data, args=["fit", *words])
    assert ended.value.code == Exit.USAGE
    err = capsys.readouterr().err
    assert err.endswith('fit: Linked "model.batch_size" must be given via "data.batch_size".\n')
    assert err.count("\n") == 1


def test_a_module_that_fails_when_it_is_imported_is_shown_whole(project: Path, lt: Any) -> None:
    for code in ("import nothing_of_that_name", "1 / 0", "def broken(:", "import sys; sys.nothing"):
        Path("broken.py").write_text(code)
        sys.modules.pop("broken", None)
        status, _, err = lt("fit", "--config", "run.yaml", "--model", "broken.Model")
        assert status == Exit.FAILED
        assert err.startswith("Traceback")
        assert "broken.py" in err


def test_what_a_class_raises_when_it_is_made_is_shown_whole(project: Path, lt: Any) -> None:
    code, _, err = lt("fit", "--config", "plain.yaml", "--model", "toy.Unmade")
    assert code == Exit.FAILED
    assert err.startswith("Traceback")
    assert err.endswith("ValueError: the user's own, when it is made\n")


def test_what_a_step_raises_is_shown_whole(project: Path, lt: Any) -> None:
    words = ["--config", "plain.yaml", "--model", "toy.Failing", "--data", "toy.Data"]
    code, _, err = lt("fit", *words, "--data.batch_size", "2")
    assert code == Exit.FAILED
    assert err.startswith("Traceback")
    assert "toy.py" in err
    assert err.endswith("ValueError: the user's own\n")


def test_what_the_engine_says_of_a_run_that_began_is_one_line(project: Path, lt: Any) -> None:
    Path("wrong.py").write_text(
        textwrap.dedent(
            """
            from toy import Line

            class Wrong(Line):
                def training_step(self, batch, batch_idx):
                    return "no loss"
            """
        )
    )
    words = ["--config", "run.yaml", "--model", "wrong.Wrong"]
    code, _, err = lt("fit", *words)
    assert code == Exit.FAILED
    assert err.count("\n") == 1
    assert err.startswith("lt fit: training_step returns a loss")


def test_ctrl_c_has_the_code_that_shells_give_it(project: Path, lt: Any) -> None:
    words = ["--config", "run.yaml", "--model", "toy.Impatient"]
    assert lt("fit", *words) == (130, "", "lt fit: stopped by Ctrl-C\n")


def test_the_exit_code_of_the_users_code_is_its_own(project: Path, lt: Any) -> None:
    Path("leaving.py").write_text(
        "import sys\nfrom toy import Line\n\nclass Leaving(Line):\n"
        "    def on_fit_start(self):\n        sys.exit(75)\n"
    )
    assert lt("fit", "--config", "run.yaml", "--model", "leaving.Leaving")[0] == 75
