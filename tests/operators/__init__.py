"""Operators of torch with typical arguments, each as a function of one tensor (batch, length, 4) of both free axes.

`python -m tests.operators` exports them all, by hand, and says which are refused; see __main__.py. To add an operator,
write a line in one of the modules.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Operator = Callable[[Tensor], Any]


def unit(x: Tensor) -> Tensor:
    """Values strictly between -1 and 1, of the shape of x."""
    return x / (1 + x.abs())
