"""A loaded model: arrays in, arrays out, the same call for every form.

The law here: this module holds what a caller sees; `runner` runs the calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from odelet.artifact.origin import Origin
from odelet.engine.opening import ONNX_RUNTIME, open_artifact
from odelet.engine.versions import tested
from odelet.loops.progress import Progress
from odelet.loops.solution import Solution
from odelet.model.arguments import Argument
from odelet.model.measured_threads import Choice, MeasuredRunner
from odelet.model.observed import NOTHING, Events, Observed
from odelet.model.paths import Paths, PathsProgress, sample_paths
from odelet.model.results import Result, result_builder
from odelet.model.runner import Runner
from odelet.model.runners import runner_of
from odelet.model.settings import AS_EXPORTED, CallSettings, Tolerance
from odelet.model.solve_stream import SolveStream
from odelet.model.stream import Stream
from odelet.model.time_limit import check_deadline
from odelet.numerics.backend import NumpyArray
from odelet.text import printable

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


def _loaded_again(kind: type[Model], origin: Origin, settings: dict[str, Any]) -> Model:
    """Load the same model as in the process that it comes from; pickles name this function."""
    return kind(origin, **settings)


class Model:
    """An exported model, ready to call; safe to call from several threads at once. `odelet.load` makes one.

    card: what the artifact says of itself. inputs: the model's inputs, in the order of positional arguments. outputs:
    the tensors that a call returns, in order. folder: where it was loaded from, None for a lone file.
    A model can be pickled and sent to other processes, which load it again: see docs/serving.md.

    >>> import numpy as np, odelet
    >>> model = odelet.load("out")
    >>> [tensor.name for tensor in model.inputs]
    ['batch.x', 'batch.scale', 'noise_0']
    >>> path = model({"x": np.ones((5, 3), np.float32), "scale": 2.0}, seed=0)
    >>> path.shape
    (3, 5, 3)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Origin,
        *,
        device: str = "cpu",
        threads: int | str | None = None,
        interruptible: bool = False,
        memory: int | None = None,
        engine: str = ONNX_RUNTIME,
        library: str | os.PathLike[str] | None = None,
        try_engine: bool = True,
        deadline: float | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "path")}
        check_deadline(deadline)
        artifact = open_artifact(path, device=device, threads=threads, memory=memory, engine=engine, library=library)
        self.card, self.folder = artifact.card, artifact.folder
        self.inputs, self.outputs = artifact.card.inputs, artifact.card.outputs
        self._again = type(self), artifact.origin, settings
        self._result = result_builder(artifact.card)
        self._runner: Runner = Runner(artifact, device=device, interruptible=interruptible)
        if try_engine and engine == ONNX_RUNTIME and not tested():
            from odelet.model import engine_check

            engine_check.try_engine(self, device=device, deadline=deadline)
        self._runner = runner_of(artifact, threads=threads, device=device, interruptible=interruptible)

    @property
    def threads(self) -> int:
        """How many threads work inside one operator; where the sizes of the inputs decide, in the latest call."""
        return self._runner.threads

    @property
    def thread_choice(self) -> Choice | None:
        """With threads="measured": what was found for the sizes of the latest call; None where nothing is known."""
        return self._runner.choice if isinstance(self._runner, MeasuredRunner) else None

    def __reduce__(self) -> tuple[object, ...]:
        """Return what loads the model again: in another process, or from a pickle. See docs/serving.md."""
        return _loaded_again, self._again

    def __copy__(self) -> Self:
        """Return the model itself: it never changes, so a copy could not be told from it."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return the model itself, as `__copy__` does."""
        return self

    def __repr__(self) -> str:
        inputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.inputs)
        outputs = ", ".join(f"{tensor.name}: {tensor}" for tensor in self.outputs)
        return printable(f"<odelet.Model {self.card.name} ({self.card.form}): {inputs} -> {outputs}>")

    def __call__(
        self,
        /,
        *args: Argument,
        rtol: Tolerance | None = None,
        atol: Tolerance | None = None,
        max_steps: int | None = None,
        max_evals: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        **named: Argument,
    ) -> Result:
        """Return what the model returns in torch, with arrays for its tensors: an array, or a tuple, list, dict, named
        tuple or dataclass of arrays and other values. An artifact of odelet 0.1 gives a tuple of all its outputs.

        args, named: one array for each input, of the input's dtype and shape; lists and numbers are converted. Inputs
        with dots in their names may come in a dict, tuple or dataclass, as in the model's own call. Arguments that were
        no tensors in the export may be given in their places or left out; another value is refused.
        rtol, atol, max_steps: in place of those that the model was exported with; where a solve has a tolerance for
        each part of its state, rtol and atol may be a row of them. max_evals: limit of evaluations of the field in each
        solve, in the form driven; the fallback of bounded solves takes max_steps and max_evals as well. deadline:
        seconds for the whole call, in every form. seed: of the random numbers that the model takes and that the call
        does not give; None draws other numbers in each call. progress: see `CallSettings` and docs/serving.md.

        Raises InputError for arguments that do not fit, AssumptionError (an InputError) for inputs for which an
        assumption of the card does not hold, and SolveError when a solve fails, or when the error estimate of a bounded
        solve is above the tolerance and there is no fallback. A RuntimeWarning tells of steps whose iteration did not
        converge.
        """
        settings = AS_EXPORTED  # Most calls set nothing, and a small model is called in some 100 us.
        if not (rtol is atol is max_steps is max_evals is deadline is seed is None) or progress is not None:
            settings = CallSettings(
                rtol=rtol,
                atol=atol,
                max_steps=max_steps,
                max_evals=max_evals,
                deadline=deadline,
                seed=seed,
                progress=progress,
            )
        result = self._runner.run(args, named, settings)
        if self._runner.may_have_failed(result):
            self._runner.solution(result).raise_if_failed()
        return self._result(result.values)

    def result(self, outputs: Mapping[str, NumpyArray]) -> Result:
        """Return outputs by name, such as those of a Solution, in the structure in which a call returns them.

        >>> import numpy as np, odelet
        >>> model = odelet.load("out")
        >>> solution = model.solve({"x": np.ones((5, 3), np.float32), "scale": 2.0}, seed=0)
        >>> model.result(solution.outputs).shape
        (3, 5, 3)
        """
        return self._result(outputs)

    def solve(
        self,
        /,
        *args: Argument,
        rtol: Tolerance | None = None,
        atol: Tolerance | None = None,
        max_steps: int | None = None,
        max_evals: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        events: Events = (),
        dense: bool = False,
        **named: Argument,
    ) -> Solution:
        """Return a Solution: the outputs by name, statistics, and a status in place of SolveError.

        args, named and the settings are those of a call. After a deadline or max_evals the outputs of a driven solve
        are those of the state that was reached, and `stats` has its time; a deadline that ends a graph leaves none.
        events: to look for in solve 0, or in each solve by its index; what the model gives after a terminal event is
        NaN, and the status is EVENT. dense: whether to keep all solves, for `solution.at(t)`. Both need adaptive
        methods in the form driven.

        Raises InputError as a call does.

        >>> import numpy as np, odelet
        >>> batch = {"x": np.ones((5, 3), np.float32), "scale": 2.0}
        >>> solution = odelet.load("out").solve(batch, rtol=1e-3, seed=0)
        >>> solution.status.name, solution.stats.rejected, solution.outputs["path"].shape
        ('OK', 0, (3, 5, 3))
        """
        settings = CallSettings(
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            max_evals=max_evals,
            deadline=deadline,
            seed=seed,
            progress=progress,
        )
        return self.solve_with(settings, args, named, observed=Observed(events=events, dense=dense))

    def paths(
        self,
        /,
        *args: Argument,
        n: int = 1000,
        seed: int | None = None,
        progress: PathsProgress | None = None,
        **named: Argument,
    ) -> Paths:
        """Return the outputs of n calls, each with random numbers of its own, and their mean, deviation and quantiles.

        It is for models that draw random numbers, such as those that solve an SDE: for each row of the batch, the n
        paths are a sample of what the model computes. Path 0 is what a call gives. args, named: as in a call, with its
        settings. seed: a path depends on it and on its own number, and not on n. progress: called with the number of
        paths that are done, after each of the calls, which take several paths at once where the model allows it.

        Only outputs are kept: n times the size of a call's result, and no states between the output times.
        Raises InputError for a model without random inputs, and what a call raises.

        >>> import numpy as np, odelet
        >>> paths = odelet.load("out").paths({"x": np.ones((5, 3), np.float32), "scale": 2.0}, n=20, seed=0)
        >>> paths.mean.shape, paths.std.shape
        ((3, 5, 3), (3, 5, 3))
        """
        settings, inputs = CallSettings.split(named)
        return self.paths_with(replace(settings, seed=seed), n, args, inputs, progress=progress)

    def paths_with(
        self,
        settings: CallSettings,
        n: int,
        args: tuple[Argument, ...],
        named: dict[str, Argument],
        *,
        progress: PathsProgress | None = None,
    ) -> Paths:
        """Return Paths as `paths` does, with the settings of each call in one object; for tools around a model."""
        return Paths(sample_paths(self._runner, n, settings, args, named, progress=progress), self._result)

    def solve_with(
        self,
        settings: CallSettings,
        args: tuple[Argument, ...],
        named: dict[str, Argument],
        *,
        observed: Observed = NOTHING,
    ) -> Solution:
        """Return the Solution of a call whose settings are one object, as `solve` does; for tools around a model."""
        observed.check(self.card)
        return self._runner.solution(self._runner.run(args, named, settings, observed=observed), observed=observed)

    @overload
    def stream(self, /, *, carry: Mapping[str, str], **start: Argument) -> Stream: ...

    @overload
    def stream(
        self,
        /,
        *,
        rtol: Tolerance | None = ...,
        atol: Tolerance | None = ...,
        max_steps: int | None = ...,
        max_evals: int | None = ...,
        seed: int | None = ...,
        progress: Progress | None = ...,
        **start: Argument,
    ) -> SolveStream: ...

    def stream(self, /, *, carry: Mapping[str, str] | None = None, **start: Argument) -> Stream | SolveStream:
        """Return a stream of calls, each going on from the one before.

        With carry, the stream is a series fed one observation at a time, in any form. carry: for each input that goes
        on, the name of the output or input whose value it takes from the call before, as in
        `model.stream(carry={"h": "h1", "t0": "t1"}, h=h0, t0=0.0)`. start: values for the first call of the inputs that
        are carried, and of the inputs that stay the same.

        Without carry, the stream is one long solve whose output times come a few at a time, in the form driven:
        `stream = model.stream(x=x)`, then `stream(t=[0.0, 0.1])`, `stream(t=[0.2])`. start: all inputs but the times,
        and the settings of the call, deadline excepted.

        Raises InputError for names that the model does not have, and, with the reason, for a model that cannot go on.
        """
        if carry is not None:
            return Stream(self, carry, start)
        settings, inputs = CallSettings.split(start)
        return SolveStream(self._runner, inputs, settings)

    def spread(self, named: Mapping[str, Argument]) -> dict[str, Argument]:
        """Return arguments under the names of the inputs: those that come in dicts, tuples and the like are taken
        apart, so that `batch={"x": x}` becomes `batch.x`. Raises InputError for what is no input."""
        return self._runner.arguments.spread(named)
