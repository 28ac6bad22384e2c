"""Watches what happens inside the solves of a loss: it counts, regularises and changes how gradients are computed.

`watched` is the context that users see; `odelet_intercept.intercept.watching` catches the calls for it.
"""
