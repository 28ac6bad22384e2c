"""odelet: exported neural differential equations, with numpy and onnxruntime only."""

__version__ = "0.1.0"

from odelet.errors import ArtifactError, InputError, OdeletError, SolveError
from odelet.events import Event
from odelet.ivp import odeint
from odelet.model import Model, load
from odelet.solution import Solution, Stats, Status
from odelet.stream import Stream
from odelet.verify import verify

__all__ = [
    "ArtifactError",
    "Event",
    "InputError",
    "Model",
    "OdeletError",
    "Solution",
    "SolveError",
    "Stats",
    "Status",
    "Stream",
    "__version__",
    "load",
    "odeint",
    "verify",
]
