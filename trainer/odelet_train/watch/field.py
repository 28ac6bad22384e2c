"""The field of a watched solve: it counts its evaluations, and computes the integrands of the regularisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from odelet.errors import InputError
from odelet_train.watch.parameters import leaves_of
from odelet_train.watch.record import POSITION, Solve

Parts = tuple[Tensor, ...]


class Counted:
    """A function of the model's, called by a solver: each evaluation is counted.

    known: the tensors that get a gradient by the adjoint method, where this watch chose it; None for no check.
    """

    def __init__(self, func: Callable[..., Any], record: Solve, *, where: str = "") -> None:
        self.func, self.record, self.where = func, record, where
        self.known: frozenset[int] | None = None

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.record.count()
        with POSITION.model():
            value = self.func(*args, **keywords)
        if self.known is not None and self.record.returned and torch.is_grad_enabled():
            self._check(args, value)
        return value

    def _check(self, args: Sequence[Any], value: Any) -> None:
        """Raise InputError where the value depends on a tensor whose gradient would be lost."""
        assert self.known is not None, "the caller asks only where they are known"
        found = leaves_of(_flat((value,)), without=_flat(args))
        lost = [leaf for leaf in found if id(leaf) not in self.known]
        if lost:
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in lost)
            raise InputError(
                f"{self.where}adjoint=True: the field reads {len(lost)} tensors with gradients that it did not read at "
                f"the start (of shapes {shapes}); call odeint_adjoint with adjoint_params, or train without adjoint"
            )


def _flat(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among values, and in the tuples and lists among them."""
    found = []
    for value in values:
        items = value if isinstance(value, (tuple, list)) else (value,)
        found += [item for item in items if isinstance(item, Tensor)]
    return found


class CountedModule(nn.Module):
    """A counted field that is a module, and has the parameters of the model's."""

    def __init__(self, counted: Counted, func: nn.Module) -> None:
        super().__init__()
        self.func, self.counted = func, counted

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """The value of the field."""
        return self.counted(*args, **keywords)


class Augmented:
    """The field of a state that has one more part: the integrals of the regularisers, one number for each.

    The integrands are means over all elements of the parts that count, which is the mean over samples of |.|^2 / dim.
    A part that the field does not read (a log-density, a divergence between processes) is itself an integral, and does
    not count. Which parts the field reads is found at its first evaluation.

    field: the model's field, counted. single: whether the model's state is a tensor and not a tuple. kinds: the
    regularisers. noise: for "jacobian", a tensor shaped like each part, the same throughout the solve.
    """

    def __init__(self, field: Counted, *, single: bool, kinds: Sequence[str], noise: Parts) -> None:
        self.field, self.single, self.kinds, self.noise = field, single, tuple(kinds), noise
        self.counted: tuple[int, ...] | None = (0,) if single else None

    def __call__(self, t: Tensor, state: Parts) -> Parts:
        """t: scalar; state: the model's parts, and last the integrals. Returns their derivatives by time."""
        *parts, _ = state
        kept = torch.is_grad_enabled()
        derived = self.counted is None or "jacobian" in self.kinds or "second" in self.kinds
        with torch.set_grad_enabled(kept or derived):
            fresh = not (kept and any(x.requires_grad for x in (t, *parts)))
            if derived:
                # A view that was made without gradients says that it needs one, and gets none: only `kept` counts.
                parts = [x if kept and x.requires_grad else x.detach().requires_grad_(True) for x in parts]
            if "second" in self.kinds and not (kept and t.requires_grad):
                t = t.detach().requires_grad_(True)
            value = self.field(t, parts[0] if self.single else tuple(parts))
            slopes = (value,) if self.single else tuple(value)
            self._check(slopes, parts)
            if fresh and kept and not leaves_of(slopes, without=(t, *parts)):
                kept = False  # Nothing needs a gradient, so that the state must not seem to need one.
            if self.counted is None:
                self.counted = _read_parts(slopes, parts)
            integrands = [getattr(self, kind)(t, parts, slopes, kept) for kind in self.kinds]
            slopes = (*slopes, torch.stack(integrands))
        return slopes if kept else tuple(slope.detach() for slope in slopes)

    def kinetic(self, _t: Tensor, _parts: Sequence[Tensor], slopes: Parts, _kept: bool) -> Tensor:
        """|f|^2 / dim: Finlay et al., How to train your neural ODE (2020), eq. 7 and sec. 4."""
        return self._mean([slopes[i] for i in self._counted()])

    def jacobian(self, _t: Tensor, parts: Sequence[Tensor], slopes: Parts, kept: bool) -> Tensor:
        """|e^T df/dy|^2 / dim, whose mean over e is the squared Frobenius norm: Finlay et al. (2020), sec. 3.2."""
        outputs, inputs = self._differentiable(slopes), [parts[i] for i in self._counted()]
        if not outputs:
            return self._mean([])
        products = torch.autograd.grad(
            [slopes[i] for i in outputs],
            inputs,
            [self.noise[i] for i in outputs],
            create_graph=kept,
            retain_graph=True,
            allow_unused=True,
        )
        return self._mean([product for product in products if product is not None])

    def second(self, t: Tensor, parts: Sequence[Tensor], slopes: Parts, kept: bool) -> Tensor:
        """|d^2 y/dt^2|^2 / dim: Kelly et al., Learning differential equations that are easy to solve (2020), sec. 3."""
        outputs = self._differentiable(slopes)
        if not outputs:
            return self._mean([])
        # The product of the Jacobian with (f, 1), by differentiating a product with its transpose: this needs no
        # formulas for forward mode, which many operators lack.
        dummies = [torch.zeros_like(slopes[i], requires_grad=True) for i in outputs]
        products = torch.autograd.grad(
            [slopes[i] for i in outputs], [*parts, t], dummies, create_graph=True, allow_unused=True
        )
        along = [*slopes, torch.ones_like(t)]
        pairs = [(p, a) for p, a in zip(products, along, strict=True) if p is not None and p.requires_grad]
        if not pairs:
            return self._mean([])
        changes = torch.autograd.grad(
            [p for p, _ in pairs],
            dummies,
            [a for _, a in pairs],
            create_graph=kept,
            retain_graph=True,
            allow_unused=True,
        )
        return self._mean([change for change in changes if change is not None])

    def _counted(self) -> tuple[int, ...]:
        assert self.counted is not None, "set at the first evaluation"
        return self.counted

    def _differentiable(self, slopes: Parts) -> list[int]:
        return [i for i in self._counted() if slopes[i].requires_grad]

    def _mean(self, tensors: Sequence[Tensor]) -> Tensor:
        """The sum of squares over the number of elements of all parts that count."""
        like = self.noise[0]
        size = sum(self.noise[i].numel() for i in self._counted())
        squares = [(x.real.square() + x.imag.square() if x.is_complex() else x.square()).sum() for x in tensors]
        return sum(squares, start=like.new_zeros(()).real) / max(size, 1)

    def _check(self, slopes: Parts, parts: Sequence[Tensor]) -> None:
        shapes = [tuple(x.shape) for x in slopes], [tuple(x.shape) for x in parts]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{self.field.where}the field returns shapes {shapes[0]} for a state of shapes {shapes[1]}; "
                "return a tensor shaped like each part of the state"
            )


def _read_parts(slopes: Parts, parts: Sequence[Tensor]) -> tuple[int, ...]:
    """The indices of the parts that the field reads; of all parts where it reads none."""
    outputs = [slope for slope in slopes if slope.requires_grad]
    if not outputs:
        return tuple(range(len(parts)))
    weights = [torch.ones_like(slope) for slope in outputs]
    found = torch.autograd.grad(outputs, list(parts), weights, retain_graph=True, allow_unused=True)
    return tuple(i for i, gradient in enumerate(found) if gradient is not None) or tuple(range(len(parts)))
