"""Solves of torchdiffeq under a watch: the arguments that the library gets in the place of the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from odelet.errors import InputError
from odelet_intercept.call import message_start
from odelet_intercept.intercept import PlainCall
from odelet_intercept.solver_library import misc, torchdiffeq
from odelet_train.watch.field import Augmented, Counted, CountedModule
from odelet_train.watch.parameters import parameters_of
from odelet_train.watch.record import POSITION, Solve, in_reentrant_checkpoint
from odelet_train.watch.settings import Watching

# Functions of a field that solvers call between steps, by their names as attributes of the field.
CALLBACKS: tuple[str, ...] = tuple(misc._all_callback_names)
ADJOINT_CALLBACKS: tuple[str, ...] = tuple(misc._all_adjoint_callback_names)
# These methods take the tolerances element by element, and no norm.
_BY_ELEMENT = ("implicit_adams", "fixed_adams")
_OUTSIDE = "scipy_solver"


@dataclass
class Ode:
    """A solve of torchdiffeq, whose arguments may be changed before it runs.

    call: as the model made it. record: what is noted of it. function: the function of torchdiffeq that runs it.
    keywords: its arguments by name.
    """

    call: PlainCall
    record: Solve
    function: Callable[..., Any]
    keywords: dict[str, Any]
    kinds: tuple[str, ...] = ()
    sign: float = 1.0
    single: bool = field(init=False)
    counted: Counted = field(init=False)

    def __post_init__(self) -> None:
        self.single = isinstance(self.keywords.get("y0"), Tensor)
        self.counted = Counted(self.keywords["func"], self.record, where=self.where)

    @property
    def where(self) -> str:
        """The start of an error message about the solve."""
        return message_start(self.call.file, self.call.line)

    @property
    def until_event(self) -> bool:
        """Whether the solve ends at an event."""
        return self.keywords.get("event_fn") is not None

    def run(self, settings: Watching) -> tuple[Any, dict[str, Tensor]]:
        """The result of the solve, and the integral of each regulariser.

        Raises InputError for a solve that cannot be changed as the settings ask.
        """
        self._check(settings)
        self._take_parts()
        if settings.steer:
            self._steer(settings.steer)
        if settings.adjoint:
            self._solve_by_adjoint()
        if settings.weights:
            self._augment(tuple(settings.weights))
        else:
            self._count()
        with POSITION.library():
            found = self.function(**self.keywords)
        self.record.returned = True
        return self._unpacked(found) if self.kinds else (found, {})

    def _take_parts(self) -> None:
        """Replace a tuple of another class by a plain one, where the state is a tuple at all."""
        y0 = self.keywords["y0"]
        if isinstance(y0, tuple):
            self.keywords["y0"] = tuple(y0)

    def _check(self, settings: Watching) -> None:
        """Raise InputError for a solve that cannot be changed as the settings ask."""
        changes, entry = settings.changes, self.call.entry
        derived = [f"{kind}={weight!r}" for kind, weight in settings.weights.items() if kind != "kinetic"]
        if changes and entry.copy:
            self._refuse(
                changes[0], f"changes solves of torchdiffeq alone, and {entry.name} is of the copy {entry.copy}"
            )
        if changes and entry.name == "odeint_dense":
            self._refuse(changes[0], "does not work with odeint_dense; solve to fixed times with odeint")
        if settings.weights and in_reentrant_checkpoint():
            self._refuse(
                changes[0],
                "gets no gradient in torch.utils.checkpoint with use_reentrant=True; pass use_reentrant=False",
            )
        if derived and torch.is_inference_mode_enabled():
            self._refuse(derived[0], "needs gradients, which torch.inference_mode() has none of; use torch.no_grad()")
        if settings.steer and (self.until_event or entry.name == "odeint_event"):
            self._refuse(changes[-1 - settings.adjoint], "moves the end time, and this solve ends at an event")
        if settings.weights and self.keywords.get("method") == _OUTSIDE:
            self._refuse(changes[0], f"needs gradients, which {_OUTSIDE} does not give; choose another method")
        state = self.keywords["y0"]
        parts = (state,) if self.single else tuple(state)
        if derived and any(isinstance(part, Tensor) and part.is_complex() for part in parts):
            self._refuse(derived[0], "does not work for a complex state")

    def _refuse(self, change: str, reason: str) -> None:
        raise InputError(f"{self.where}{change} {reason}")

    def _count(self) -> None:
        """Put the counted field in the place of the model's; all else stays as it is."""
        func = self.keywords["func"]
        target = CountedModule(self.counted, func) if isinstance(func, nn.Module) else self.counted
        for name in (*CALLBACKS, *ADJOINT_CALLBACKS):
            if hasattr(func, name):
                setattr(target, name, getattr(func, name))
        self.keywords["func"] = target

    def _steer(self, share: float) -> None:
        """Move the end time: Ghosh et al., STEER: simple temporal regularization for neural ODEs (2020)."""
        t = self.keywords["t"]
        if len(t) < 2 or not t.is_floating_point():  # torchdiffeq refuses other times itself
            return
        moved = t[-1] + share * (t[-1] - t[-2]) * (2 * torch.rand((), dtype=t.dtype, device=t.device) - 1)
        self.keywords["t"] = torch.cat([t[:-1], moved.reshape(1)])

    def _solve_by_adjoint(self) -> None:
        """Let torchdiffeq's adjoint method compute the gradients, for all tensors that the field computes with."""
        if self.call.entry.name == "odeint_event":
            interface = self.keywords.get("odeint_interface", torchdiffeq.odeint)
            if interface is torchdiffeq.odeint_adjoint:
                return
            if interface is not torchdiffeq.odeint:
                self._refuse("adjoint=True", f"does not know odeint_interface={interface!r}; pass odeint_adjoint there")
            self.keywords["odeint_interface"] = torchdiffeq.odeint_adjoint
        elif self.call.entry.name == "odeint_adjoint":
            return
        else:
            self.function = torchdiffeq.odeint_adjoint
        start = self.keywords["t0"].reshape(-1) if "t0" in self.keywords else self.keywords["t"]
        with POSITION.library():  # solves inside the field are not counted here
            parameters = parameters_of(self.keywords["func"], start, self.keywords["y0"])
        self.counted.known = frozenset(map(id, parameters))
        self.keywords["adjoint_params"] = parameters

    def _augment(self, kinds: tuple[str, ...]) -> None:
        """Give the state one more part, the integrals; the steps stay those of the model's own state."""
        keywords, self.kinds = self.keywords, kinds
        func, y0 = keywords["func"], keywords["y0"]
        parts = (y0,) if self.single else y0
        noise = tuple(torch.randn_like(part) if "jacobian" in kinds else torch.zeros_like(part) for part in parts)
        augmented = Augmented(self.counted, single=self.single, kinds=kinds, noise=noise)
        for name in CALLBACKS:
            if hasattr(func, name):
                setattr(augmented, name, self._with_own_state(getattr(func, name), 1))
        for name in ADJOINT_CALLBACKS:
            if hasattr(func, name):
                setattr(augmented, name, self._adjoint_callback(getattr(func, name)))
        dtype = torch.empty(0, dtype=noise[0].dtype).real.dtype
        for part in noise[1:]:
            dtype = torch.promote_types(dtype, torch.empty(0, dtype=part.dtype).real.dtype)
        keywords["func"] = augmented
        keywords["y0"] = (*parts, noise[0].new_zeros(len(kinds), dtype=dtype))
        if self.until_event:
            keywords["event_fn"] = self._with_own_state(keywords["event_fn"], 1)
        self._keep_adjoint(func)
        self._keep_options()
        self._keep_tolerances(parts)
        if keywords.get("reverse_time") or ("t" in keywords and len(keywords["t"]) > 1 and _backward(keywords["t"])):
            self.sign = -1.0

    def _own(self, state: Sequence[Tensor]) -> Any:
        """The model's own state, of an augmented one."""
        return state[0] if self.single else tuple(state[:-1])

    def _with_own_state(self, function: Callable[..., Any], position: int) -> Callable[..., Any]:
        """A function of the model's, which gets its own state at a position among its arguments."""

        def called(*args: Any) -> Any:
            with POSITION.model():
                return function(*args[:position], self._own(args[position]), *args[position + 1 :])

        return called

    def _adjoint_callback(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callback of the backward solve, whose state is (time, state, adjoint, *parameters), each of them flat."""
        shape, count = (self.keywords["y0"].shape if self.single else (-1,)), len(self.kinds)

        def called(t0: Tensor, state: Sequence[Tensor], dt: Tensor) -> Any:
            time, y, adjoint, *rest = state
            return function(t0, (time, y[:-count].reshape(shape), adjoint[:-count].reshape(shape), *rest), dt)

        return called

    def _keep_adjoint(self, func: Any) -> None:
        """Give `odeint_adjoint` what it would have found in the model's own arguments."""
        keywords = self.keywords
        interface = keywords.get("odeint_interface", self.function)
        if interface is not torchdiffeq.odeint_adjoint and self.call.entry.name != "odeint_adjoint":
            return
        if keywords.get("adjoint_params") is None and isinstance(func, nn.Module):
            keywords["adjoint_params"] = tuple(torchdiffeq._impl.adjoint.find_parameters(func))
        for name, default in (("rtol", 1e-7), ("atol", 1e-9)):
            if keywords.get(f"adjoint_{name}") is None:
                keywords[f"adjoint_{name}"] = keywords.get(name, default)
        method, options = keywords.get("method"), keywords.get("options")
        given = keywords.get("adjoint_options")
        if given is None and (options is None or keywords.get("adjoint_method") in (None, method)):
            keywords["adjoint_options"] = {k: v for k, v in (options or {}).items() if k != "norm"}
        elif given is not None and callable(given.get("norm")):
            keywords["adjoint_options"] = {**given, "norm": self._adjoint_norm(given["norm"])}

    def _adjoint_norm(self, norm: Callable[..., Any]) -> Callable[..., Any]:
        """The model's norm of (time, *state, *adjoint, *parameters), without the integrals."""
        count = 1 if self.single else len(self.keywords["y0"]) - 1

        def own(state: Sequence[Tensor]) -> Any:
            time, *rest = state
            y, adjoint = rest[:count], rest[count + 1 : 2 * count + 1]
            return norm((time, *y, *adjoint, *rest[2 * count + 2 :]))

        return own

    def _keep_options(self) -> None:
        """Let the controller of steps see the model's own state alone, by the model's own norm if it has one."""
        options: Mapping[str, Any] = self.keywords.get("options") or {}
        norm = options.get("norm", misc._rms_norm if self.single else misc._mixed_norm)
        changed = {**options, "norm": lambda state: norm(self._own(state))}
        if options.get("grid_constructor") is not None:
            changed["grid_constructor"] = self._grid(options["grid_constructor"])
        self.keywords["options"] = changed

    def _grid(self, construct: Callable[..., Any]) -> Callable[..., Any]:
        """The model's function that makes a grid, with the field and the state as torchdiffeq would give them."""
        shape, count = (self.keywords["y0"][0].shape if self.single else (-1,)), len(self.kinds)

        def constructed(func: Callable[..., Tensor], y0: Tensor, t: Tensor) -> Any:
            def own(time: Tensor, y: Tensor, **how: Any) -> Tensor:
                return func(time, torch.cat([y.reshape(-1), y0[-count:]]), **how)[:-count].reshape(shape)

            return construct(own, y0[:-count].reshape(shape), t)

        return constructed

    def _keep_tolerances(self, parts: Sequence[Tensor]) -> None:
        """Give tolerances by element one more, for the integrals; plain numbers hold for all elements as they are."""
        keywords, method = self.keywords, self.keywords.get("method")
        for name, default in (("rtol", 1e-7), ("atol", 1e-9)):
            value = keywords.get(name, default)
            plain = not isinstance(value, Sequence) and getattr(value, "ndim", 0) == 0
            if name == "atol" and method in _BY_ELEMENT:
                if plain:
                    value = [torch.as_tensor(value, dtype=torch.float64)] * len(parts)
                keywords[name] = (*self._by_part(value, parts), torch.tensor(torch.inf, dtype=torch.float64))
            elif not plain:
                keywords[name] = (*self._by_part(value, parts), 1.0)

    def _by_part(self, value: Any, parts: Sequence[Tensor]) -> tuple[Any, ...]:
        if not self.single or isinstance(value, list) and len(parts) == len(value) == 1:
            return tuple(value)
        exact = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
        return (exact.expand(parts[0].shape).reshape(-1),)

    def _unpacked(self, found: Any) -> tuple[Any, dict[str, Tensor]]:
        """The result as the model expects it, and the integrals at the end of the solve."""
        event = found[0] if self.until_event else None
        *parts, integrals = found[1] if self.until_event else found
        own = parts[0].contiguous() if self.single else tuple(part.contiguous() for part in parts)
        ends = integrals[-1].real if integrals.is_complex() else integrals[-1]
        by_kind = {kind: ends[i] * self.sign for i, kind in enumerate(self.kinds)}
        return (own if event is None else (event, own)), by_kind


def _backward(t: Tensor) -> bool:
    return bool(t[0] > t[1])
