"""Mutated artifacts, loaded and run: no crash, no exception of another library, no hang, no silently other answer.

`python -m tests.fuzz --count 100000 --seed 1` runs as many as one likes; `test_fuzz.py` runs a thousand. A mutant is
made from a seed and a number alone, so that `python -m tests.fuzz --seed 1 --only 4711` makes one again.

A mutant is *sealed* where the hashes in its card are made right again after the change, so that the checks behind them
are tried. It is then another model, and may give other answers. A mutant that is not sealed is a damaged file: it gives
the answers that it gave before, or an error.
"""
