"""Hooks in every form that stpipe takes: functions, steps with parameters, commands."""

import shlex
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate import hooks
from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.hooks import NamedHook, parse_hook
from calbatch.calibrate.hooks.shellhook import Command
from calbatch.calibrate.parameters import Float, Text
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels

PATH = __name__


class Add(Step):
    """Add a number, and write a note to a header card."""

    reference_file_types = ["flat"]
    amount = Float(1.0, help="what to add")
    note = Text("", help="why")

    def process(self, image):
        image.data = image.data + self.amount
        image.set_card("NOTE", self.note)
        return image


class Both(Step):
    """Return two models."""

    def process(self, image):
        twice = image.copy()
        twice.data = twice.data * 2
        return image, twice


class AddTwice(Pipeline):
    """Add twice."""

    step_defs = {"first": Add, "second": Add}

    def process(self, image):
        return self.second(self.first(image))


class Never(Step):
    """Refuse to run."""

    def check(self):
        super().check()
        raise ParameterError("Never is never to run")


class NeedsArgument:
    """A class that cannot be called without an argument."""

    def __init__(self, argument):
        self.argument = argument


def double(model):
    model.data = model.data * 2
    return model


@pytest.fixture
def image():
    model = datamodels.ImageModel(np.full((8, 6), 6.0, "f4"))
    model.meta.filename = "$(touch canary); `touch canary`"
    return model


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Return a program that records its arguments and copies the files that they name."""
    folder = tmp_path / "seen"
    folder.mkdir()
    monkeypatch.setenv("SEEN", str(folder))
    program = tmp_path / "my recorder"
    program.write_text(
        f"#!{sys.executable}\nimport os, shutil, sys\nseen = os.environ['SEEN']\n"
        "open(os.path.join(seen, 'arguments'), 'w').write(repr(sys.argv[1:]))\n"
        "for n, a in enumerate(sys.argv[1:]):\n"
        "    if os.path.isfile(a): shutil.copy(a, os.path.join(seen, f'{n}.fits'))\n"
        "print('it said', 'this')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return shlex.quote(str(program)), folder


def value(model):
    return float(np.asarray(model.data)[0, 0])


class TestPython:
    @pytest.mark.parametrize(
        ("hook", "expected"),
        [
            (f"{PATH}:double", (6 * 2) + 1),
            (f"{PATH}.double", (6 * 2) + 1),
            (double, (6 * 2) + 1),
            (f"{PATH}.Add", 6 + 1 + 1),
            (f"{PATH}.Add(amount=5, note='a, (b)')", 6 + 5 + 1),
            (f"{PATH}:Add(amount=-2.5e1)", 6 - 25 + 1),
            (f"{PATH}.Add()", 6 + 1 + 1),
            (Add, 6 + 1 + 1),
            (Add(amount=10), 6 + 10 + 1),
            (AddTwice(), 6 + 2 + 1),
        ],
    )
    def test_functions_and_steps_change_the_input(self, image, hook, expected):
        assert value(Add(pre_hooks=[hook]).run(image)) == expected
        assert value(Add(pre_hooks=hook).run(image)) == expected

    def test_the_callers_model_is_unchanged(self, image):
        Add(pre_hooks=[double], post_hooks=[double]).run(image)
        assert value(image) == 6

    def test_hooks_run_in_order(self, image):
        first = [f"{PATH}.double", f"{PATH}.Add(amount=5)"]
        assert value(Add(pre_hooks=first, post_hooks=first[::-1]).run(image)) == (17 + 1 + 5) * 2

    @pytest.mark.parametrize(
        "text",
        [
            f"{PATH}.Add(amount=__import__('os').getpid())",
            f"{PATH}.Add(amount=[].append)",
            f"{PATH}.Add(5)",
            f"{PATH}.Add(**{{'amount': 5}})",
            f"{PATH}.Add(amount=5) + {PATH}.Add(amount=6)",
            f"{PATH}.Add(amount=5)(amount=6)",
            f"{PATH}.Add(amount=5",
            f"{PATH}.Add(amount=5, amount=6)",
            f"{PATH}.Add(amount={'(' * 500})",
        ],
    )
    def test_parameters_must_be_literals(self, text):
        with pytest.raises(ParameterError, match=r"^step\.post_hooks: (hook|command) "):
            Add(name="step", post_hooks=[text])

    @pytest.mark.parametrize(
        ("hook", "message"),
        [
            (f"{PATH}.Add(amuont=5)", "Add has no parameter 'amuont'; did you mean 'amount'"),
            (f"{PATH}.Add(amount='many')", "Add.amount = 'many': must be a number"),
            (f"{PATH}.Never", "Never is never to run"),
            (f"{PATH}.double(amount=5)", "double' is not a step, and takes no parameters"),
            (f"{PATH}.PATH", "PATH' is not a function or step"),
            (f"{PATH}:duoble", "duoble' cannot be imported: AttributeError"),
            (f"{PATH}:NeedsArgument", "NeedsArgument cannot be created: TypeError"),
            ("no_such_module:double", "'no_such_module:double' cannot be imported: ModuleNot"),
        ],
    )
    @pytest.mark.parametrize("when", ["pre_hooks", "post_hooks"])
    def test_an_unusable_hook_is_rejected_before_anything_runs(self, hook, message, when):
        pipeline = AddTwice()
        pipeline.configure({"second": {when: [f"{PATH}:double", hook]}}, "a test")
        with pytest.raises(ParameterError) as refused:
            pipeline.check()
        assert str(refused.value).startswith(f"second.{when}: hook {hook!r}: ")
        assert message in str(refused.value)
        with pytest.raises(RequestError) as refused_request:
            configure_step(pipeline)
        assert str(refused_request.value) == str(refused.value)

    def test_hooks_of_skipped_steps_are_not_checked(self, image):
        step = Add(pre_hooks=["no_such_module:double"], skip=True)
        assert value(step.run(image)) == 6

    def test_a_module_that_fails_on_import_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "broken_hooks.py").write_text("1 / 0\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ParameterError, match=r"hook 'broken_hooks:f': .*ZeroDivisionError"):
            Add(pre_hooks=["broken_hooks:f"]).check()

    @pytest.mark.parametrize("value", [5, {"a": 1}, b"ls"])
    def test_a_value_that_is_neither_list_nor_hook_is_rejected(self, value):
        with pytest.raises(ParameterError, match=r"^step\.pre_hooks = .*: must be a list"):
            Add(name="step", pre_hooks=value)

    def test_an_item_that_is_not_a_hook_is_rejected_with_its_value(self):
        with pytest.raises(ParameterError, match=r"^step\.pre_hooks: hook 5: must be a function,"):
            Add(name="step", pre_hooks=[5])

    def test_references_of_hooks_that_are_steps_are_looked_up(self):
        step = AddTwice()
        step.first.override_flat = step.second.override_flat = "N/A"
        assert step.wanted_references() == set()
        step.first.post_hooks = [f"{PATH}.Add(amount=5)"]
        assert step.wanted_references() == {"flat"}
        step.first.post_hooks = [f"{PATH}.Add(override_flat='N/A')", "echo {0}"]
        assert step.wanted_references() == set()

    def test_results_of_hooks_that_are_steps_are_products_of_their_step(self, image, tmp_path):
        image.meta.filename = "x.fits"
        step = AddTwice(save_results=True, output_dir=str(tmp_path))
        step.second.post_hooks = [Add(save_results=True, suffix="hooked")]
        step.run(image)
        assert sorted(path.name for path in tmp_path.glob("*")) == [
            "x_AddTwice.fits", "x_hooked.fits"]  # fmt: skip


class TestCommands:
    def test_a_command_sees_the_model_in_a_file(self, image, recorder):
        program, folder = recorder
        step = Add(pre_hooks=[f"{program} --in={{0}} {{0}} 'two words' {{{{}}}} '*' a,b"])
        assert value(step.run(image)) == 7
        first, second, *others = eval((folder / "arguments").read_text())
        assert first == f"--in={second}"
        assert others == ["two words", "{}", "*", "a,b"]
        np.testing.assert_array_equal(fits.getdata(folder / "1.fits"), np.full((8, 6), 6.0))
        assert not Path(second).exists()

    def test_several_results_have_numbers(self, image, recorder):
        program, folder = recorder
        Both(post_hooks=[f"{program} {{1}} {{0}}"]).run(image)
        values = [float(fits.getdata(folder / f"{n}.fits")[0, 0]) for n in range(2)]
        assert values == [12.0, 6.0]
        with pytest.raises(StepError, match=r"no model for \{2\}: the step has 2 mod"):
            Both(post_hooks=[f"{program} {{2}}"]).run(image)

    def test_changes_of_a_command_to_the_file_are_discarded(self, image):
        assert value(Add(pre_hooks=["truncate -s 0 {0}"]).run(image)) == 7

    def test_header_values_never_reach_a_shell(self, image, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        image.meta.target.catalog_name = "'; touch canary; '"
        Add(name="; touch canary", pre_hooks=["sh -c 'cat {0} > /dev/null'", "ls -l {0}"]).run(
            image
        )
        assert list(tmp_path.iterdir()) == []

    def test_output_of_a_command_is_logged_line_by_line(self, image, recorder, caplog):
        with caplog.at_level("INFO", logger="calbatch"):
            Add(pre_hooks=[recorder[0]]).run(image)
            Add(pre_hooks=[r"printf 'a\033[31mb\nc'"]).run(image)
        messages = [r.getMessage() for r in caplog.records if "standard output" in r.getMessage()]
        assert messages == [
            f"Add: standard output: {text}" for text in ("it said this", "a [31mb", "c")
        ]

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("sh -c 'echo whatever >&2; exit 3'", "Add: command .* exited with status 3: whatever"),
            ("sh -c 'kill -9 $$'", "Add: command .* killed by signal 9"),
            (
                "no-such-program {0}",
                "Add: command .* cannot be run: .*module:fun",
            ),
        ],
    )
    def test_a_failing_command_fails_the_exposure(self, image, command, message):
        with pytest.raises(StepError, match=message):
            Add(pre_hooks=[command]).run(image)

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("cat {0} > x", "'>' is shell syntax"),
            ("cat {0} | wc", r"'\|' is shell syntax"),
            ("ls && rm x", "'&&' is shell syntax"),
            ("ls; rm x", "';' is shell syntax"),
            ("echo $HOME", r"'\$HOME' is shell syntax"),
            ("echo `id`", "is shell syntax"),
            ("cat {name}", r"\{0\} stands for the model's file"),
            ("cat {0.__class__}", r"\{0\} stands for the model's file"),
            ("cat {0!r}", r"\{0\} stands for the model's file"),
            ("awk {print}", r"double any other braces"),
            ("cat 'x", "command"),
            ("", "must not be empty"),
        ],
    )
    def test_commands_that_need_a_shell_are_rejected_on_assignment(self, command, message):
        with pytest.raises(ParameterError, match=rf"^step\.pre_hooks: .*{message}"):
            Add(name="step", pre_hooks=[command])

    def test_quoted_shell_syntax_is_literal(self):
        command = Command.of("awk '$1 > 2' 'a;b' {0}")
        assert command.words == (("awk",), ("$1 > 2",), ("a;b",), (0,))

    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
        )
    )
    def test_quoted_arguments_arrive_unchanged(self, arguments):
        text = shlex.join(["a program", *arguments]).replace("{", "{{").replace("}", "}}")
        words = ["".join(map(str, word)) for word in Command.of(text).words]
        assert words == ["a program", *arguments]

    def test_a_dry_run_runs_no_commands(self, image, recorder):
        step = AddTwice()
        step.first.pre_hooks = [recorder[0], double]
        looked_at = hooks.without_commands(step)
        assert value(looked_at.run(image)) == 14
        assert list(recorder[1].iterdir()) == []
        assert step.first.pre_hooks == [recorder[0], double]


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "hooks_of_it"),
        [
            ("a:b", ["a:b"]),
            ("a:b, c.d", ["a:b", "c.d"]),
            ("a:b,", ["a:b"]),
            ("a.B(x=1, y='2, 3'), c:d", ["a.B(x=1, y='2, 3')", "c:d"]),
            ("cmd {0}", ["cmd {0}"]),
            ("cmd {0} a,b", ["cmd {0} a,b"]),
            ("\"cmd {0} a,b\", 'c:d'", ["cmd {0} a,b", "c:d"]),
            ('"cmd {0}", c:d,', ["cmd {0}", "c:d"]),
            ("", []),
        ],
    )
    def test_text_of_a_command_line(self, text, hooks_of_it):
        assert Add(pre_hooks=text).pre_hooks == hooks_of_it

    @pytest.mark.parametrize(
        ("line", "hooks_of_it"),
        [
            ("a:b", ["a:b"]),
            ("a:b, c:d", ["a:b", "c:d"]),
            ('"fitsinfo.py {0}",', ["fitsinfo.py {0}"]),
            ('"fitsinfo.py {0}"', ["fitsinfo.py {0}"]),
            ('"cmd {0} a,b"', ["cmd {0} a,b"]),
            ("\"a.B(x=1, y='2')\", c:d", ["a.B(x=1, y='2')", "c:d"]),
        ],
    )
    def test_text_of_a_parameter_file(self, tmp_path, line, hooks_of_it):
        path = tmp_path / "add.cfg"
        path.write_text(f"post_hooks = {line}\n")
        assert Add.from_config(path).post_hooks == hooks_of_it

    @pytest.mark.parametrize("text", ["a:b", "a.b.c", "a.b:C(x=1)", "_a.b"])
    def test_import_paths(self, text):
        assert isinstance(parse_hook(text), NamedHook)

    @pytest.mark.parametrize("text", ["ls", "fitsinfo.py {0}", "./a.b", "a.b --c", "1.2"])
    def test_commands(self, text):
        assert isinstance(parse_hook(text), Command)
