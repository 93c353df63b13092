"""The best low-rank approximation of a sum of low-rank products, without forming the sum.

M = L R with L (d_out, k) and R (k, d_in). With L = Q_L T_L and R^T = Q_R T_R (reduced QR) is
M = Q_L (T_L T_R^T) Q_R^T, so the singular values of M are those of the small T_L T_R^T, at most
(k, k): no d_out x d_in matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def truncated(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B (d_out, rank) = U S and A (rank, d_in) = V^T of left @ right, in float32.

    Computed in float64. Each row of A has its largest entry positive, so that the factors do not
    depend on the library that computed them. Beyond the rank of the product they are zero.
    """
    q_left, t_left = torch.linalg.qr(left.double())
    q_right, t_right = torch.linalg.qr(right.double().T)
    u, s, v = torch.linalg.svd(t_left @ t_right.T, full_matrices=False)
    b, a = q_left @ (u[:, :rank] * s[:rank]), v[:rank] @ q_right.T
    sign = signs(a)
    b, a = b * sign, a * sign[:, None]
    missing = rank - a.shape[0]
    if missing > 0:
        b = torch.cat([b, b.new_zeros(b.shape[0], missing)], dim=1)
        a = torch.cat([a, a.new_zeros(missing, a.shape[1])])
    return b.float(), a.float()


def signs(rows: Tensor) -> Tensor:
    """The sign of the largest entry of each row, 1 or -1."""
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))[:, 0]
    return 1 - 2 * (largest < 0).to(rows.dtype)
