"""Commands of other packages: they are found by entry point, and cost nothing if they are not installed."""

from functools import partial
from importlib.metadata import EntryPoint

import pytest
import typer
from support.command_line import call, one_line

from odelet import cli

EXTENSION = """
import typer
from odelet.errors import OdeletError

app = typer.Typer()

class ParityError(OdeletError):
    exit_code = 3

@app.command()
def hello(name: str = "you") -> None:
    typer.echo(f"hello {name}")

@app.command()
def bye() -> None:
    typer.echo("bye")

def shout(word: str) -> None:
    \"\"\"Say it loud.\"\"\"
    typer.echo(word.upper())

def lazy() -> None:
    import surely_not_installed

def differ() -> None:
    raise ParityError("outputs\\ndiffer")
"""


class TestExtensions:
    @pytest.fixture
    def extended(self, capsys, tmp_path, monkeypatch):
        (tmp_path / "odelet_extension.py").write_text(EXTENSION)
        (tmp_path / "odelet_export_absent.py").write_text("import surely_not_installed")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(cli, "app", typer.Typer(callback=cli._options, pretty_exceptions_enable=False))
        monkeypatch.setitem(cli.EXTRAS, "odelet_extension", "export")
        points = {
            "greet": "odelet_extension:app",
            "shout": "odelet_extension:shout",
            "lazy": "odelet_extension:lazy",
            "differ": "odelet_extension:differ",
            "absent": "odelet_export_absent:main",
        }
        found = [EntryPoint(name, target, cli.GROUP) for name, target in points.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: found if group == cli.GROUP else [])
        return partial(call, capsys)

    def test_a_function_is_a_command_and_an_app_a_group(self, extended):
        assert extended("shout", "hey") == (0, "HEY\n", "")
        assert extended("greet", "hello", "--name", "her") == (0, "hello her\n", "")

    def test_what_cannot_be_loaded_says_what_to_install(self, extended):
        code, _, err = extended("absent", "file.py", "--form", "adaptive", "-o", "out")
        assert code == 2
        assert "absent: No module named 'surely_not_installed'" in one_line(err)
        assert "pip install odelet_export_absent" in err

    def test_what_cannot_import_while_it_runs_says_what_to_install(self, extended):
        code, _, err = extended("lazy")
        assert code == 2
        assert "lazy: No module named 'surely_not_installed'; install what" in one_line(err)
        assert err.endswith('pip install "odelet[export]"\n')

    def test_help_works_with_a_command_that_cannot_be_loaded(self, extended):
        code, out, _ = extended("--help")
        assert code == 0
        assert all(name in out for name in ("greet", "shout", "absent"))

    def test_an_error_of_an_extension_brings_its_exit_code(self, extended):
        assert extended("differ") == (3, "", "odelet: outputs differ\n")
