"""From a torch model to numpy, in Python. The README shows the part between the marks."""

# [quickstart]
import numpy as np
import torch
from torchdiffeq import odeint

import odelet
from odelet_export import export


class Spiral(torch.nn.Module):
    """Curves that wind inwards: dy/dt = A y^3, from each row of y0."""

    def forward(self, y0):
        a = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
        t = torch.linspace(0.0, 10.0, 50)
        return odeint(lambda t, y: y**3 @ a.T, y0, t, method="dopri5", rtol=1e-5, atol=1e-5)


export(Spiral(), (torch.rand(8, 2),), "out/spiral", dynamic={"y0": {0: "batch"}})

model = odelet.load("out/spiral")  # on the device, from here on: no torch
y0 = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
y = model(y0)  # (50, 3, 2)
fast = model.solve(y0, rtol=1e-2)  # also says how it went
print(fast.stats.steps, "steps instead of", model.solve(y0).stats.steps)
# [/quickstart]
