"""The command line, run in the process of the tests."""

import pytest

from odelet import cli


def call(capsys, *args):
    """Return (exit code, stdout, stderr) of `odelet ARGS`."""
    with pytest.raises(SystemExit) as exited:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return exited.value.code, out, err


def one_line(err):
    """Assert that stderr is one message of odelet's, and return it."""
    assert err.startswith("odelet: ")
    assert err.count("\n") == 1
    return err
