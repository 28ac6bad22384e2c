"""Products, matrices and Fourier transforms."""

import torch
from torch import Tensor

from operators import Operator

TABLE = torch.linspace(-1, 1, 16).reshape(4, 4).sin()
VECTOR = torch.linspace(-1, 1, 4)


def square(x: Tensor) -> Tensor:
    """Well-conditioned symmetric matrices (batch, 4, 4)."""
    z = torch.tanh(x[:, :1])
    return z.mT @ z + 3 * torch.eye(4)


def skew(x: Tensor) -> Tensor:
    """Well-conditioned matrices (batch, 4, 4) without symmetry."""
    z = torch.tanh(x[:, :1])
    return 0.3 * (z.mT @ TABLE[:1]) + 3 * torch.eye(4) + 0.2 * TABLE


PRODUCTS: dict[str, Operator] = {
    "matmul": lambda x: x @ TABLE,
    "matmul batch": lambda x: torch.matmul(x, x.mT),
    "matmul vector": lambda x: x @ VECTOR,
    "mm": lambda x: torch.mm(x[:, 0], TABLE),
    "bmm": lambda x: torch.bmm(x, x.mT),
    "mv": lambda x: torch.mv(x[:, 0], VECTOR),
    "dot": lambda x: torch.dot(x[0, 0], VECTOR),
    "vdot": lambda x: torch.vdot(x[0, 0], VECTOR),
    "inner": lambda x: torch.inner(x, x),
    "outer": lambda x: torch.outer(x[:, 0, 0], x[0, :, 0]),
    "ger": lambda x: torch.ger(x[:, 0, 0], x[0, :, 0]),
    "kron": lambda x: torch.kron(x[0, 0], VECTOR),
    "kron size": lambda x: torch.kron(x[:, 0], TABLE),
    "kron eye": lambda x: torch.kron(torch.eye(2), x[0]),
    "kron batch": lambda x: torch.kron(x, x[0]),
    "einsum": lambda x: torch.einsum("bld,bmd->blm", x, x),
    "einsum table": lambda x: torch.einsum("bld,de->ble", x, TABLE),
    "einsum ellipsis": lambda x: torch.einsum("...d,...d->...", x, x),
    "tensordot": lambda x: torch.tensordot(x, TABLE, 1),
    "tensordot axes": lambda x: torch.tensordot(x, x, ([0, 2], [0, 2])),
    "chain_matmul": lambda x: torch.chain_matmul(x[:, 0], TABLE, TABLE),
    "multi_dot": lambda x: torch.linalg.multi_dot([x[:, 0], TABLE, TABLE]),
    "addmm": lambda x: torch.addmm(VECTOR, x[:, 0], TABLE),
    "addmv": lambda x: torch.addmv(x[:, 0, 0], x[:, 0], VECTOR),
    "addbmm": lambda x: torch.addbmm(x[0], x, TABLE.expand(x.shape[0], 4, 4)),
    "baddbmm": lambda x: torch.baddbmm(x, x, TABLE.expand(x.shape[0], 4, 4), alpha=0.5),
    "addr": lambda x: torch.addr(x[:, 0], x[:, 0, 0], VECTOR),
    "cross": lambda x: torch.cross(x[..., :3], x[..., 1:], dim=-1),
    "linalg.cross": lambda x: torch.linalg.cross(x[..., :3], x[..., 1:]),
    "vecdot": lambda x: torch.linalg.vecdot(x, x * x),
    "cdist": lambda x: torch.cdist(x, x * x + 1),
    "cdist self": lambda x: torch.cdist(x, x + 1e-3),
    "cdist 1": lambda x: torch.cdist(x, x * x + 1, p=1),
    "cosine_similarity": lambda x: torch.cosine_similarity(x, x * x, dim=-1),
    "bilinear": lambda x: torch.nn.functional.bilinear(x, x * x, TABLE.reshape(2, 2, 4).repeat(1, 2, 1)),
    "matrix_power": lambda x: torch.matrix_power(square(x) / 3, 3),
    "linalg.matrix_power": lambda x: torch.linalg.matrix_power(square(x) / 3, 2),
    "matrix_exp": lambda x: torch.matrix_exp(skew(x) * 0.2),
    "cumulative product of matrices": lambda x: (square(x) @ square(x)) @ x.mT,
}

MATRICES: dict[str, Operator] = {
    "det": lambda x: torch.det(skew(x)),
    "logdet": lambda x: torch.logdet(square(x)),
    "slogdet": lambda x: torch.slogdet(skew(x))[1],
    "inverse": lambda x: torch.inverse(skew(x)),
    "pinverse": lambda x: torch.pinverse(square(x)),
    "cholesky": lambda x: torch.linalg.cholesky(square(x)),
    "cholesky old": lambda x: torch.cholesky(square(x)),
    "cholesky_solve": lambda x: torch.cholesky_solve(x.mT, torch.linalg.cholesky(square(x))),
    "cholesky_inverse": lambda x: torch.cholesky_inverse(torch.linalg.cholesky(square(x))),
    "solve": lambda x: torch.linalg.solve(skew(x), x.mT),
    "solve vector": lambda x: torch.linalg.solve(skew(x), x[:, 0]),
    "solve constant": lambda x: torch.linalg.solve(TABLE + 3 * torch.eye(4), x.mT),
    "solve_ex": lambda x: torch.linalg.solve_ex(skew(x), x.mT)[0],
    "inv_ex": lambda x: torch.linalg.inv_ex(skew(x))[0],
    "solve_triangular": lambda x: torch.linalg.solve_triangular(square(x).tril(), x.mT, upper=False),
    "triangular_solve": lambda x: torch.triangular_solve(x.mT, square(x).triu())[0],
    "lstsq": lambda x: torch.linalg.lstsq(skew(x), x.mT).solution,
    "tensorsolve": lambda x: torch.linalg.tensorsolve(skew(x[:1])[0], x[0, 0]),
    "tensorinv": lambda x: torch.linalg.tensorinv(skew(x[:1])[0], ind=1),
    "lu": lambda x: torch.linalg.lu(skew(x))[2],
    "lu_solve": lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor(skew(x)), x.mT),
    "qr": lambda x: torch.linalg.qr(skew(x))[1].abs(),
    "svdvals": lambda x: torch.linalg.svdvals(skew(x)),
    "svd": lambda x: torch.linalg.svd(skew(x))[1],
    "eigh": lambda x: torch.linalg.eigh(square(x))[0],
    "eigvalsh": lambda x: torch.linalg.eigvalsh(square(x)),
    "eigvals": lambda x: torch.linalg.eigvals(skew(x)).real.sort(-1).values,
    "pinv": lambda x: torch.linalg.pinv(skew(x)),
    "matrix_rank": lambda x: torch.linalg.matrix_rank(square(x)),
    "cond": lambda x: torch.linalg.cond(square(x)),
    "matrix_norm": lambda x: torch.linalg.matrix_norm(x),
    "matrix_norm 1": lambda x: torch.linalg.matrix_norm(x, 1),
    "matrix_norm 2": lambda x: torch.linalg.matrix_norm(x, 2),
    "matrix_norm nuc": lambda x: torch.linalg.matrix_norm(square(x), "nuc"),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "vector_norm inf": lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1),
    "vector_norm 3": lambda x: torch.linalg.vector_norm(x, 3, dim=(1, 2)),
    "linalg.norm": lambda x: torch.linalg.norm(x, dim=-1),
    "linalg.norm all": lambda x: torch.linalg.norm(x),
    "linalg.norm matrix": lambda x: torch.linalg.norm(x, dim=(1, 2)),
    "householder_product": lambda x: torch.linalg.householder_product(skew(x), x[:, 0].tanh()),
    "linalg.diagonal": lambda x: torch.linalg.diagonal(square(x)),
    "frobenius": lambda x: x.norm("fro", dim=(1, 2)),
    "det large": lambda x: torch.logdet(torch.eye(9) + (x[:, :1, :1] * torch.ones(9, 9)).square() * 0.01),
    "inverse large": lambda x: torch.inverse(9 * torch.eye(12) + x[:, :1, :1].tanh() * torch.ones(12, 12)),
    "solve large": lambda x: torch.linalg.solve(
        9 * torch.eye(12) + x[:, :1, :1].tanh() * torch.ones(12, 12), x[:, 0, :1].unsqueeze(1).expand(-1, 12, 1)
    ),
}

FOURIER: dict[str, Operator] = {
    "rfft": lambda x: torch.view_as_real(torch.fft.rfft(x, dim=-1)),
    "rfft length": lambda x: torch.view_as_real(torch.fft.rfft(x, dim=1)),
    "rfft padded": lambda x: torch.view_as_real(torch.fft.rfft(x, n=8, dim=-1)),
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=-1), n=4, dim=-1),
    "irfft length": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1), n=x.shape[1], dim=1),
    "fft": lambda x: torch.fft.fft(x, dim=-1).abs(),
    "fft length": lambda x: torch.fft.fft(x, dim=1).real,
    "ifft": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=-1), dim=-1).real,
    "ifft length": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=1), dim=1).real,
    "fft derivative": lambda x: torch.fft.ifft(1j * torch.fft.fftfreq(4) * torch.fft.fft(x)).real,
    "rfft derivative": lambda x: torch.fft.irfft(1j * torch.fft.rfftfreq(4) * torch.fft.rfft(x), n=4),
    "rfft2": lambda x: torch.view_as_real(torch.fft.rfft2(x.reshape(x.shape[0], x.shape[1], 2, 2))),
    "irfft2": lambda x: torch.fft.irfft2(torch.fft.rfft2(x.unflatten(2, (2, 2))), s=(2, 2)),
    "fft2": lambda x: torch.fft.fft2(x.unflatten(2, (2, 2))).real,
    "ifft2": lambda x: torch.fft.ifft2(torch.fft.fft2(x.unflatten(2, (2, 2)))).real,
    "fftn": lambda x: torch.fft.fftn(x.unflatten(2, (2, 2)), dim=(-2, -1)).imag,
    "ifftn": lambda x: torch.fft.ifftn(x.unflatten(2, (2, 2)), dim=(-2, -1)).real,
    "rfftn": lambda x: torch.fft.rfftn(x.unflatten(2, (2, 2)), dim=(-2, -1)).abs(),
    "irfftn": lambda x: torch.fft.irfftn(torch.fft.rfftn(x, dim=(2,)), s=(4,), dim=(2,)),
    "hfft": lambda x: torch.fft.hfft(torch.fft.rfft(x), n=4),
    "fftshift": lambda x: torch.fft.fftshift(x, dim=-1),
    "fftshift length": lambda x: torch.fft.fftshift(x, dim=1),
    "ifftshift": lambda x: torch.fft.ifftshift(x, dim=1),
    "fftfreq length": lambda x: torch.fft.fftfreq(x.shape[1])[:, None] * x,
    "rfftfreq length": lambda x: torch.fft.rfftfreq(x.shape[1]).sum() * x,
    "spectral convolution": lambda x: torch.fft.irfft(
        torch.einsum("blk,k->blk", torch.fft.rfft(x), torch.tensor([1.0 + 1j, 2.0, 0.5j])), n=4
    ),
    "fourier layer": lambda x: _fourier_layer(x),
    "stft": lambda x: torch.stft(x.flatten(1).repeat(1, 4), 4, return_complex=True, window=torch.hann_window(4)).abs(),
}


def _fourier_layer(x: Tensor) -> Tensor:
    """The product of the lowest frequency along the length with weights, as in a Fourier neural operator."""
    spectrum = torch.fft.rfft(x, dim=1)
    product = torch.zeros_like(spectrum)
    product[:, :1] = torch.einsum("bkd,de->bke", spectrum[:, :1], torch.complex(TABLE, TABLE))
    return torch.fft.irfft(product, n=x.shape[1], dim=1)


OPERATORS = {**PRODUCTS, **MATRICES, **FOURIER}
