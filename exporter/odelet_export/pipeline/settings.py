"""The settings of an export. Each default is written here, or in the part that holds the setting, and nowhere else.

No torch: the command line makes its options from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, Unpack

from odelet.artifact.solve_card import FORMS
from odelet.errors import InputError
from odelet.loops.limits import DEFAULT_MAX_STEPS
from odelet_export.calibration.settings import Calibration
from odelet_export.errors import FormError
from odelet_export.lowering.profiles import GENERAL, PROFILES
from odelet_export.model.overrides import Overrides
from odelet_export.pipeline.keywords import changed, keywords_of
from odelet_export.pipeline.weights_settings import WeightsSettings
from odelet_export.proof.metric import MetricFunction

AUTO = "auto"
OPSETS = range(18, 24)

# The settings that `tune` has, too.
MaxSteps = Annotated[int, "Limit of attempted steps of an adaptive method."]
Opset = Annotated[int, f"ONNX opset of the graphs, {OPSETS[0]} to {OPSETS[-1]}."]
Freeze = Annotated[
    tuple[str, ...], "Hold this input, whose numbers the model reads in Python, at its example; may be repeated."
]


@dataclass(frozen=True, kw_only=True)
class ProofSettings:
    """The settings of the comparison of an artifact with the torch model.

    samples: the number of fresh inputs on which both are run, besides the example. seed: the seed of these inputs and
    of the model's random draws. tolerance: (rtol, atol) of the comparison; None for the default of the dtype.
    torch_seconds: how long torch may run on fresh inputs in all; those for which no time is left are not compared, and
    a warning says so. quick: whether to leave out, for a first look, what is not the comparison itself; see
    `quick.LEFT_OUT`.
    """

    samples: Annotated[int, "Number of fresh random inputs on which the artifact is compared with torch."] = 4
    seed: Annotated[int, "Seed of the random example and of the fresh random inputs."] = 0
    tolerance: Annotated[
        tuple[float, float] | None, "Relative and absolute tolerance of the comparison with torch."
    ] = None
    torch_seconds: Annotated[float, "Seconds that torch may run on the fresh random inputs in all."] = 300.0
    quick: Annotated[
        bool, "For a first look: leave out the replay of the capture, and the second comparison in float64."
    ] = False

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples={self.samples!r} must be at least 1")
        if not self.torch_seconds > 0:
            raise InputError(f"torch_seconds={self.torch_seconds!r} must be above 0")


class SharedChanges(TypedDict, total=False):
    """The settings of an export that `tune` takes too, as flat keywords."""

    max_steps: int
    opset: int
    freeze: Sequence[str]
    seed: int


class ExportChanges(SharedChanges, total=False):
    """All settings of an export as flat keywords. `calibration` is `Calibration.inputs`."""

    form: str
    profile: str
    method: str | None
    steps: int | None
    step_size: float | None
    rtol: float | None
    atol: float | None
    controller: str | None
    time_dtype: str | None
    per_sample: bool
    keep_debug_info: bool
    rewrite: bool
    strict: bool
    samples: int
    tolerance: tuple[float, float] | None
    torch_seconds: float
    quick: bool
    calibration: Mapping[str, Any] | None
    quantile: float
    fallback: bool
    weights: str
    max_error: float | None
    data: Mapping[str, Any] | None
    metric: MetricFunction | None
    max_change: float | None


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The settings of an export.

    form: the form in which each solve is put into ONNX; "auto" chooses by the solve's method. solves: the changes in
    the model's solves. profile: what the graphs may use, for the engine or the target that is to run them. max_steps:
    the limit of attempted steps in an adaptive solve. opset: the opset of the ONNX graphs. keep_debug_info: whether the
    graphs keep source paths. rewrite: whether operators of the model are replaced by others that ONNX Runtime computes
    faster, with the same numbers up to rounding. freeze: names of inputs whose numbers the model reads in Python; these
    numbers are held at those of the example, and the inputs may change otherwise. strict: whether a model is refused
    whose Python code decides anything by its inputs; else each decision on the example is an assumption, which the card
    lists and the artifact checks in each call. proof: the comparison with torch. calibration: the data for the form
    `bounded`. storage: how the weights are stored.

    Raises InputError or FormError for a value that no export can have.

    >>> ExportSettings.of(method="rk4", steps=8).solves.steps
    8
    """

    form: Annotated[str, f"How each solve is put into ONNX: {', '.join((AUTO, *FORMS))}."] = AUTO
    solves: Overrides = Overrides()
    profile: Annotated[
        str, f"What the graphs may use: {'; '.join(f'{x.name}, for {x.about}' for x in PROFILES.values())}."
    ] = GENERAL.name
    max_steps: MaxSteps = DEFAULT_MAX_STEPS
    opset: Opset = 20
    keep_debug_info: Annotated[bool, "Keep the paths of source files in the graphs."] = False
    rewrite: Annotated[bool, "Replace operators of the model by others that ONNX Runtime computes faster."] = True
    freeze: Freeze = ()
    strict: Annotated[bool, "Refuse a model whose Python code decides anything by its inputs."] = False
    proof: ProofSettings = ProofSettings()
    calibration: Calibration = Calibration()
    storage: WeightsSettings = WeightsSettings()

    def __post_init__(self) -> None:
        if self.form not in (AUTO, *FORMS):
            raise FormError(f"form={self.form!r} is not one of {AUTO}, {', '.join(FORMS)}")
        if self.profile not in PROFILES:
            raise FormError(f"profile={self.profile!r} is not one of {', '.join(PROFILES)}")
        if self.opset not in OPSETS:
            raise InputError(f"opset={self.opset!r} is not supported; use {OPSETS[0]} to {OPSETS[-1]}")
        if self.max_steps < 1:
            raise InputError(f"max_steps={self.max_steps!r} must be at least 1")
        object.__setattr__(self, "freeze", tuple(self.freeze))

    @classmethod
    def of(cls, **changes: Unpack[ExportChanges]) -> ExportSettings:
        """The default settings, with some changed by flat keywords. Raises TypeError for an unknown keyword."""
        return changed(cls(), changes)

    def having(self, **changes: Unpack[ExportChanges]) -> ExportSettings:
        """These settings, with some changed by flat keywords. Raises TypeError for an unknown keyword."""
        return changed(self, changes)

    def check_calibration(self) -> None:
        """Raise FormError where the form and the calibration do not go together.

        Only files need this check: `explain` needs no calibration data for any form.
        """
        data, form = self.calibration, self.form
        calibrated = [name for name, facts in FORMS.items() if facts.calibrated]
        if form not in calibrated:
            takers = " or ".join(calibrated)
            for name, keyword in keywords_of(Calibration).items():
                if getattr(data, keyword.field) != keyword.default:
                    raise FormError(
                        f"{name} is for the form {takers}, and form={form!r}; leave it out, or ask for {takers}"
                    )
        elif data.inputs is None:
            raise FormError(
                f"the form {form} finds its steps on calibration data, and there are none; give calibration=, a dict "
                "of arrays by input name (--calibration FILE.npz)"
            )
        elif self.solves.per_sample:
            raise FormError(
                f"per_sample gives each sample its own steps, and those of {form} are one grid for all; leave it out"
            )
