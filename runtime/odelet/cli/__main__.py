"""Runs the command line, as `python -m odelet.cli` does."""

from odelet.cli import main

main()
