"""Linear algebra. See `tests.oracle.names`."""

from __future__ import annotations

TABLES: dict[str, str] = {}

TABLES["products"] = """
matmul | torch.matmul(x, b) | torch.matmul(x, v) | torch.matmul(v, b) | torch.matmul(v, w) | torch.matmul(t, b) | torch.matmul(t, t.mT) | x.matmul(y.t()) | torch.matmul(t, v) | torch.matmul(x.t(), x) | torch.matmul(e, b) | torch.matmul(x, y)
mm | torch.mm(x, b) | x.mm(y.t()) | torch.mm(x.t(), y) | torch.mm(sq, sq) | torch.mm(x[:, :0], b[:0]) | torch.mm(x, y)
bmm | torch.bmm(t, t.mT) | t.bmm(t.transpose(1, 2)) | torch.bmm(t.mT, t) | torch.bmm(t[:, :, :0], t.mT[:, :0]) | torch.bmm(pd, pd) | torch.bmm(t, t)
mv | torch.mv(x, v) | x.mv(w) | torch.mv(x.t(), v[:3]) | torch.mv(sq, v) | torch.mv(x[:0], v) | torch.mv(x, v[:2])
dot | torch.dot(v, w) | v.dot(w) | torch.vdot(v, w) | torch.inner(v, w) | torch.inner(x, y) | torch.inner(x, v) | torch.dot(v[:0], w[:0]) | torch.inner(t, x)
outer | torch.outer(v, w) | v.outer(w) | torch.ger(v, w) | torch.outer(v, w[:2]) | torch.outer(i[0], i[1]) | torch.outer(v, x)
addmm | torch.addmm(c, x, b) | torch.addmm(c, x, b, beta=0.5, alpha=2) | c.addmm(x, b) | torch.addmm(f5, x, b) | torch.addmm(c, x, b, beta=0) | c.clone().addmm_(x, b) | torch.addmm(c, y.t()[:3, :3].contiguous(), c)
baddbmm | torch.baddbmm(t @ t.mT, t, t.mT) | torch.baddbmm(t @ t.mT, t, t.mT, beta=2, alpha=0.5) | torch.addbmm(x @ x.t(), t, t.mT) | torch.baddbmm(s, t, t.mT) | torch.baddbmm(v[:3], t, t.mT) | torch.addbmm(s, t, t.mT, alpha=3)
addmv | torch.addmv(v[:3], x, v) | torch.addmv(v[:3], x, w, beta=2, alpha=3) | v[:3].addmv(x, v) | torch.addr(x, v[:3], w) | torch.addr(x, v[:3], w, beta=0.5, alpha=2) | torch.addmv(s, x, v)
einsum | torch.einsum('ij,jk->ik', x, b) | torch.einsum('ij,kj', x, y) | torch.einsum('ii->i', sq) | torch.einsum('ii', sq) | torch.einsum('...ij,jk->...ik', t, b) | torch.einsum('bij,bkj->bik', t, t) | torch.einsum('ij,ij,ij->', x, y, z) | torch.einsum('i,j->ij', v, w) | torch.einsum('ij->ji', x) | torch.einsum('ij->', x) | torch.einsum('bij,bjk,bkl->bil', t, t.mT, t) | torch.einsum(x, [0, 1], y, [2, 1], [0, 2])
tensordot | torch.tensordot(x, b, 1) | torch.tensordot(t, x, 2) | torch.tensordot(t, t, ([0, 2], [0, 2])) | torch.tensordot(x, y, dims=([1], [1])) | torch.tensordot(v, w, 1) | torch.tensordot(v, w, 0)
kron | torch.kron(x, sq) | torch.kron(v, w) | torch.kron(x, v) | torch.kron(i, i) | torch.kron(t, x) | torch.kron(s, x)
chain_matmul | torch.linalg.multi_dot([x, b, b.t()]) | torch.chain_matmul(x, b, b.t()) | torch.linalg.multi_dot([v, b, b.t(), v]) | torch.linalg.multi_dot([x, b]) | torch.linalg.multi_dot([x, sq, sq, b]) | torch.chain_matmul(sq, sq)
cdist | torch.cdist(x, y) | torch.cdist(x, y, 1) | torch.cdist(t, t[:, :2]) | torch.cdist(x, y, inf) | torch.cdist(x, y, 3.0) | torch.cdist(t, x)
pdist | F.pdist(x) | F.pdist(y, 1) | torch.pdist(x) | F.pdist(x, inf) | F.pdist(x, 3.0) | F.pdist(x[:2])
cross | torch.cross(x[:, :3], y[:, :3], dim=1) | torch.linalg.cross(x[:, :3], y[:, :3]) | torch.cross(t, t + 1, dim=1) | torch.linalg.cross(x, y, dim=0) | x.cross(y, dim=0) | torch.linalg.cross(v[:3], w[:3])
trace | torch.trace(x) | torch.trace(sq) | x.trace() | torch.trace(n) | torch.trace(x.t()) | torch.trace(x[:, :1])
"""

_SOLVED = ""
TABLES["linalg"] = """
linalg.norm | torch.linalg.norm(x) | torch.linalg.norm(v) | torch.linalg.norm(x, 'fro') | torch.linalg.norm(x, 'nuc') | torch.linalg.norm(x, 2) | torch.linalg.norm(x, 1) | torch.linalg.norm(x, -inf) | torch.linalg.norm(t, dim=(1, 2)) | torch.linalg.norm(v, 3) | torch.linalg.norm(x, dim=1)
linalg.matrix_norm | torch.linalg.matrix_norm(x) | torch.linalg.matrix_norm(x, 1) | torch.linalg.matrix_norm(x, -1) | torch.linalg.matrix_norm(x, inf) | torch.linalg.matrix_norm(x, 2) | torch.linalg.matrix_norm(t, 'nuc') | torch.linalg.matrix_norm(t, -2, keepdim=True) | torch.linalg.matrix_norm(t, 'fro', (0, 2))
linalg.cholesky | torch.linalg.cholesky(sym(pd)) | torch.linalg.cholesky(sym(pd), upper=True) | torch.cholesky(sym(pd)[0]) | torch.linalg.cholesky(sym(pd9)) | torch.linalg.cholesky(-sym(pd)) | torch.linalg.cholesky_ex(sym(pd)).L | torch.linalg.cholesky_ex(-sym(pd)).info
cholesky_solve | torch.cholesky_solve(b, torch.linalg.cholesky(sym(pd)[0])) | torch.cholesky_solve(b, torch.linalg.cholesky(sym(pd)[0], upper=True), upper=True) | torch.cholesky_inverse(torch.linalg.cholesky(sym(pd)[0])) | torch.cholesky_solve(b.expand(2, -1, -1), torch.linalg.cholesky(sym(pd))) | b.cholesky_solve(torch.linalg.cholesky(sym(pd)[1])) | torch.cholesky_inverse(torch.linalg.cholesky(sym(pd)))
linalg.solve | torch.linalg.solve(pd, t.mT[:, :, :2]) | torch.linalg.solve(pd[0], v) | torch.linalg.solve(pd[0], b) | torch.linalg.solve(pd, v.expand(2, 4)) | torch.linalg.solve(pd[0], b.t(), left=False) | torch.linalg.solve(pd9, pd9) | torch.linalg.solve(pd[0] * 0, v) | torch.linalg.solve_ex(pd, pd).result
linalg.solve_triangular | torch.linalg.solve_triangular(pd[0].tril(), b, upper=False) | torch.linalg.solve_triangular(pd[0].triu(), b, upper=True) | torch.linalg.solve_triangular(pd, pd, upper=True) | torch.linalg.solve_triangular(pd[0], b.t(), upper=True, left=False) | torch.linalg.solve_triangular(pd[0], b, upper=False, unitriangular=True) | torch.linalg.solve_triangular(pd9, pd9, upper=False)
linalg.inv | torch.linalg.inv(pd) | torch.inverse(pd[0]) | pd.inverse() | torch.linalg.inv(pd9) | torch.linalg.inv(pd[0] * 0) | torch.linalg.inv_ex(pd).inverse | torch.linalg.inv(sq[:1, :1])
linalg.det | torch.linalg.det(pd) | torch.det(sq) | pd.det() | torch.linalg.det(sq * 0) | torch.linalg.det(pd9) | torch.linalg.det(sq[[1, 0, 2, 3]]) | torch.det(x)
linalg.slogdet | torch.linalg.slogdet(pd) | torch.slogdet(sq) | torch.logdet(pd) | pd.slogdet() | torch.linalg.slogdet(sq[[1, 0, 2, 3]]) | torch.slogdet(sq * 0) | torch.logdet(pd9)
linalg.lu | torch.linalg.lu(pd) | torch.linalg.lu(sq) | torch.linalg.lu(x) | torch.linalg.lu_factor(pd).LU | torch.linalg.lu_factor(sq).pivots | torch.linalg.lu_solve(*torch.linalg.lu_factor(pd), pd) | torch.lu_solve(b, *torch.linalg.lu_factor(pd[0]))
linalg.qr | [abs(r) for r in torch.linalg.qr(x)] | [abs(r) for r in torch.linalg.qr(x.t())] | [abs(r) for r in torch.linalg.qr(pd)] | torch.linalg.qr(x.t(), mode='complete').Q.abs()[:, :3] | torch.linalg.qr(x.t(), mode='r').R.abs() | [abs(r) for r in torch.qr(x.t())]
linalg.lstsq | torch.linalg.lstsq(x.t(), v).solution if False else torch.linalg.lstsq(x.t(), v[:, None]).solution | torch.linalg.lstsq(pd, pd).solution | torch.linalg.lstsq(t.mT, t.mT).solution | torch.linalg.lstsq(x.t(), b).solution | torch.linalg.lstsq(pd[0], b).solution | torch.linalg.lstsq(x, y).solution
linalg.eigh | torch.linalg.eigh(sym(pd)).eigenvalues | torch.linalg.eigvalsh(sym(pd)) | (lambda ee, oo: oo @ torch.diag_embed(ee) @ oo.mT)(*torch.linalg.eigh(sym(pd))) | torch.linalg.eigvalsh(sym(pd9)) | torch.linalg.eigh(sym(pd), UPLO='U').eigenvalues | torch.linalg.eigvalsh(-sym(pd)[0])
linalg.svd | torch.linalg.svdvals(x) | torch.linalg.svd(x, full_matrices=False).S | torch.linalg.svd(x.t(), full_matrices=False).U.abs() | torch.svd(x).S | torch.linalg.svdvals(pd9) | torch.linalg.svd(t, full_matrices=False).Vh.abs()
linalg.pinv | torch.linalg.pinv(x) | torch.pinverse(x) | torch.linalg.pinv(pd) | torch.linalg.pinv(sym(pd), hermitian=True) | torch.linalg.pinv(x.t()) | torch.linalg.pinv(pd, rtol=0.5)
linalg.matrix_power | torch.linalg.matrix_power(sq, 3) | torch.matrix_power(sq, 0) | torch.linalg.matrix_power(pd, -2) | sq.matrix_power(1) | torch.linalg.matrix_power(pd, 5) | torch.linalg.matrix_power(x, 2)
linalg.matrix_rank | torch.linalg.matrix_rank(x) | torch.linalg.matrix_rank(pd) | torch.linalg.matrix_rank(sq * 0) | torch.linalg.matrix_rank(torch.outer(v, w)) | torch.linalg.matrix_rank(sym(pd), hermitian=True) | torch.linalg.matrix_rank(x, tol=100.0)
linalg.matrix_exp | torch.linalg.matrix_exp(sq) | torch.matrix_exp(pd) | torch.linalg.matrix_exp(sq * 0) | sq.matrix_exp() | torch.linalg.matrix_exp(sq * 5) | torch.linalg.matrix_exp(sq / 100)
linalg.cond | torch.linalg.cond(pd) | torch.linalg.cond(pd, 'fro') | torch.linalg.cond(sq, 1) | torch.linalg.cond(pd, inf) | torch.linalg.cond(x) | torch.linalg.cond(pd, -2)
linalg.vecdot | torch.linalg.vecdot(x, y) | torch.linalg.vecdot(t, t) | torch.linalg.vecdot(x, y, dim=0) | torch.linalg.vecdot(x, v) | torch.linalg.vander(v) | torch.linalg.vander(x, N=3)
linalg.tensorsolve | torch.linalg.tensorinv(pd.reshape(2, 16)[:, :4].reshape(2, 2, 2)[0:2].reshape(2, 2, 2).expand(2, 2, 2)) if False else torch.linalg.tensorinv(pd[0].reshape(2, 2, 4), ind=2) | torch.linalg.tensorsolve(pd[0].reshape(2, 2, 4), x[:2, :2]) | torch.linalg.tensorsolve(pd[0], v) | torch.linalg.tensorinv(pd[0], ind=1) | torch.linalg.householder_product(x.t(), v[:3]) | torch.geqrf(x.t()).a.abs()
triangular_solve | torch.triangular_solve(b, pd[0]).solution | torch.triangular_solve(b, pd[0], upper=False).solution | torch.triangular_solve(b, pd[0], transpose=True).solution | torch.triangular_solve(b, pd[0], unitriangular=True).solution | torch.triangular_solve(pd, pd).solution | b.triangular_solve(pd[0])[0]
"""
