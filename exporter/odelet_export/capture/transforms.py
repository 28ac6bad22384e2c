"""The transforms of torch.func that look at values or sizes in Python, as others that a tracer can follow.

linearize            torch runs a trace of its own, in which a tracer is lost; here each call of the linear function
                     is a `jvp`
vmap(chunk_size=)    the pieces save memory, and their number depends on the size; here there is one piece
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch._functorch import apis, eager_transforms
from torch.func import jvp  # `_linearize` runs in torch's file, which has this name, too


def _linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of a function, and its derivative as a function of a direction."""
    return func(*primals), lambda *tangents: jvp(func, primals, tangents)[1]


@contextmanager
def plain_transforms() -> Iterator[None]:
    """Let the transforms be others until the block is left, also under names that the model has imported."""
    linearize: Any = eager_transforms.linearize
    original, vmap = linearize.__code__, apis.vmap_impl

    def in_one_piece(
        func: Any, in_dims: Any, out_dims: Any, randomness: Any, _chunk_size: Any, *args: Any, **kwargs: Any
    ) -> Any:
        return vmap(func, in_dims, out_dims, randomness, None, *args, **kwargs)

    try:
        linearize.__code__ = _linearize.__code__
        apis.vmap_impl = in_one_piece  # type: ignore[assignment]  # torch has no hook
        yield
    finally:
        linearize.__code__ = original
        apis.vmap_impl = vmap
