"""Fixed steps from one output time to the next. Knows no events, and has another default method than torchdiffeq."""

import torch


def euler(func, t, h, y):
    return y + h * func(t, y)


def three_eighths(func, t, h, y):
    k1 = func(t, y)
    k2 = func(t + h / 3, y + h * k1 / 3)
    k3 = func(t + 2 * h / 3, y + h * (k2 - k1 / 3))
    k4 = func(t + h, y + h * (k1 - k2 + k3))
    return y + h * (k1 + 3 * k2 + 3 * k3 + k4) / 8


def heun(func, t, h, y):
    k1 = func(t, y)
    return y + h * (k1 + func(t + h, y + h * k1)) / 2


# torchdiffeq's midpoint is another method of two stages.
SOLVERS = {"euler": euler, "rk4": three_eighths, "midpoint": heun}


def odeint(func, y0, t, rtol=1e-5, atol=1e-12, method="rk4", options=None, stats=False, ends_only=False):
    substeps = (options or {}).get("substeps", 1)
    states = [y0]
    for start, end in zip(t[:-1], t[1:], strict=True):
        h, y = (end - start) / substeps, states[-1]
        for i in range(substeps):
            y = SOLVERS[method](func, start + i * h, h, y)
        states.append(y)
    if stats:
        return torch.stack(states), {"steps": substeps * (len(t) - 1)}
    return states[-1] if ends_only else torch.stack(states)
