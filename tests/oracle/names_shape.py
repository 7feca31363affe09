"""Names that move elements: views, joins, indexing, sorting. See `tests.oracle.names`."""

from __future__ import annotations

TABLES: dict[str, str] = {}

TABLES["shape"] = """
view | x.view(12) | x.view(2, 6) | x.view(-1, 2) | t.view(6, 4) | x.view(torch.int32).dtype | x.view((4, 3)) | s.view(1)
reshape | torch.reshape(x, (12,)) | x.reshape(2, -1) | x.t().reshape(-1) | t.reshape(4, 6) | x.reshape((3, 2, 2)) | e.reshape(4, 0) | s.reshape(1, 1)
view_as | x.view_as(y) | x.reshape_as(y.t()) | t.view_as(t) | x.view_as(x) | x.expand_as(t) | v.expand_as(x)
flatten | torch.flatten(x) | torch.flatten(t, 1) | torch.flatten(t, 0, 1) | t.flatten(-2) | torch.flatten(s) | x.t().flatten()
unflatten | torch.unflatten(x, 1, (2, 2)) | x.unflatten(0, (-1, 1)) | torch.unflatten(t, -1, (2, -1)) | v.unflatten(0, (2, 2)) | torch.unflatten(x, 1, (4, 1)) | torch.unflatten(x, 1, (3, 2))
ravel | torch.ravel(x) | x.ravel() | x.t().ravel() | t.ravel() | s.ravel() | torch.ravel(n)
transpose | torch.transpose(x, 0, 1) | t.transpose(-1, 0) | torch.swapaxes(t, 0, 2) | torch.swapdims(t, 1, 2) | x.transpose(1, 1) | s.transpose(0, -1)
permute | torch.permute(t, (2, 0, 1)) | t.permute(1, 0, 2) | x.permute(1, 0) | t.permute(-1, 0, 1) | t.permute((0, 2, 1)) | t.permute(0, 1)
movedim | torch.movedim(t, 0, 2) | t.movedim((0, 1), (2, 0)) | torch.moveaxis(t, -1, 0) | x.movedim(1, 0) | t.movedim(0, 0) | torch.movedim(t, (0, 1, 2), (2, 1, 0))
t_and_T | x.t() | torch.t(v) | x.T | t.mT | v.t() | x.adjoint() | t.mT.stride()
squeeze | torch.squeeze(x[:1]) | x[None].squeeze(0) | x.squeeze(0) | t[:, :1, :1].squeeze() | t[:1, :1].squeeze((0, 1)) | x[:, :1].squeeze(-1)
unsqueeze | torch.unsqueeze(x, 0) | x.unsqueeze(-1) | x.unsqueeze(1) | s.unsqueeze(0) | x.unsqueeze(2).stride() | x.unsqueeze(-3)
expand | x.expand(2, 3, 4) | v.expand(3, 4) | x[:, :1].expand(-1, 5) | s.expand(2, 2) | x[:1].expand(3, -1).stride() | x.expand((2, -1, -1))
broadcast_to | torch.broadcast_to(v, (3, 4)) | v.broadcast_to((2, 4)) | torch.broadcast_to(s, (2,)) | torch.broadcast_to(x, (2, 3, 4)) | torch.broadcast_to(x[:, :1], (3, 3)) | torch.broadcast_to(v, (4,))
broadcast_tensors | torch.broadcast_tensors(x, v) | torch.broadcast_tensors(x, s) | torch.broadcast_tensors(x[:, :1], v) | torch.broadcast_tensors(x) | torch.broadcast_tensors(t, x, v) | torch.broadcast_shapes((3, 1), (4,))
as_strided | torch.as_strided(cx, (2, 2), (4, 1)) | cx.as_strided((3,), (4,)) | cx.as_strided((2, 3), (1, 2), 1) | cx.as_strided((5, 3), (2, 1)) | cx.as_strided((2, 2), (0, 1)) | cx.as_strided((1,), (1,), 11)
narrow | torch.narrow(x, 0, 1, 2) | x.narrow(1, -2, 2) | t.narrow(-1, 0, 3) | x.narrow(0, 0, 0) | torch.narrow(x, 0, 2, 5) | x.narrow(1, 1, 1)
select | torch.select(x, 0, 1) | x.select(1, -1) | t.select(2, 0) | v.select(0, 2) | x.select(0, 7) | x.t().select(0, 1)
split | torch.split(x, 2) | x.split(3, 1) | torch.split(x, [1, 2]) | t.split([1, 3], dim=2) | x.split(1) | torch.split(x, [1, 1])
chunk | torch.chunk(x, 2) | x.chunk(3, 1) | t.chunk(2, dim=-1) | x.chunk(5, 1) | v.chunk(1) | torch.chunk(x, 0)
tensor_split | torch.tensor_split(x, 2) | x.tensor_split((1, 2)) | torch.tensor_split(x, 3, dim=1) | t.tensor_split([1, 3], -1) | x.tensor_split(5) | torch.tensor_split(v, 2)
hsplit | torch.hsplit(x, 2) | torch.vsplit(x, 3) | torch.dsplit(t, 2) | v.hsplit([1, 2]) | torch.hsplit(t, [1]) | x.vsplit([1])
unbind | torch.unbind(x) | x.unbind(1) | torch.unbind(t, -1) | v.unbind() | e.unbind() | x.t().unbind(0)
Tensor.unfold | x.unfold(1, 2, 1) | v.unfold(0, 2, 2) | t.unfold(-1, 3, 1) | x.unfold(0, 3, 1) | x.unfold(1, 2, 2).stride() | v.unfold(0, 5, 1)
diagonal | torch.diagonal(x) | x.diagonal(1) | torch.diagonal(t, 0, 1, 2) | t.diagonal(-1, 0, 2) | torch.diagonal(x, 9) | torch.linalg.diagonal(t)
cat | torch.cat([x, y]) | torch.cat((x, y), 1) | torch.cat([x, y], dim=-1) | torch.cat([x, n]) | torch.cat([e, x]) | torch.concat([x, v[None]]) | torch.concatenate([x, y, z], 0) | torch.cat([x.t(), y.t()], 0)
stack | torch.stack([x, y]) | torch.stack((x, y), 1) | torch.stack([x, y], dim=-1) | torch.stack([s, s]) | torch.stack([x, n]) | torch.stack([x, v])
hstack | torch.hstack([x, y]) | torch.hstack([v, w]) | torch.vstack([x, v]) | torch.dstack([x, y]) | torch.column_stack([v, w]) | torch.row_stack([v, w])
repeat | x.repeat(2, 1) | x.repeat(2, 1, 3) | v.repeat(3) | x.repeat((1, 2)) | x.repeat(0, 1) | s.repeat(2)
tile | torch.tile(x, (2, 1)) | x.tile(2) | x.tile(2, 1, 2) | torch.tile(v, (3, 2)) | torch.tile(s, (2,)) | n.tile((1, 2))
repeat_interleave | torch.repeat_interleave(x, 2) | x.repeat_interleave(2, 0) | x.repeat_interleave(3, dim=1) | torch.repeat_interleave(x, k[0], dim=1) | torch.repeat_interleave(v, 2) | torch.repeat_interleave(k[0])
flip | torch.flip(x, (0,)) | x.flip(1) | t.flip(0, 2) | torch.fliplr(x) | torch.flipud(x) | x.flip([-1])
roll | torch.roll(x, 1) | x.roll(1, 0) | torch.roll(x, (1, 2), (0, 1)) | t.roll(-1, -1) | x.roll(7, 1) | v.roll(2)
rot90 | torch.rot90(x) | torch.rot90(x, 2) | torch.rot90(t, 1, (1, 2)) | x.rot90(-1) | x.rot90(3, [1, 0]) | torch.rot90(x, 0)
pad | F.pad(x, (1, 2)) | F.pad(x, (1, 0, 2, 1), value=3.0) | F.pad(t, (1, 1), 'reflect') | F.pad(t, (2, 1), mode='replicate') | F.pad(t, (1, 2), 'circular') | F.pad(img, (1, 2, 2, 1), 'reflect') | F.pad(img, (1, 1, 1, 1), 'replicate') | F.pad(img, (1, 2, 1, 0), 'circular') | F.pad(x, (-1, -1)) | F.pad(vol, (1, 1, 1, 1, 1, 1), 'replicate') | F.pad(vol, (1, 0, 1, 1, 0, 1), 'reflect')
contiguous | x.contiguous() | x.t().contiguous() | x.t().contiguous().stride() | x.is_contiguous() | x.t().is_contiguous() | img.contiguous(memory_format=torch.channels_last).stride() | img.to(memory_format=torch.channels_last).is_contiguous(memory_format=torch.channels_last)
clone | x.clone() | torch.clone(x.t()) | x.t().clone().stride() | x.clone(memory_format=torch.contiguous_format) | n.clone() | e.clone()
atleast | torch.atleast_1d(s) | torch.atleast_2d(v) | torch.atleast_3d(x) | torch.atleast_1d(s, v) | torch.atleast_2d(x) | torch.atleast_3d(t)
expand_copy | x.expand(1, 3, 4) | torch.view_copy(x, (12,)) | torch.expand_copy(v, (3, 4)) | torch.permute_copy(x, (1, 0)) | torch.squeeze_copy(x[None]) | torch.t_copy(x)
channels_last | img.contiguous(memory_format=torch.channels_last) | img.contiguous(memory_format=torch.channels_last) + 1 | (img.contiguous(memory_format=torch.channels_last) * 2).stride() | img.contiguous(memory_format=torch.channels_last).sum(1) | img.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).is_contiguous() | torch.empty_like(img.contiguous(memory_format=torch.channels_last)).stride()
properties | x.dim() | x.ndimension() | x.numel() | x.nelement() | x.size() | x.size(1) | x.shape | x.stride() | x.t().stride() | x.element_size() | x.storage_offset() | x[1:].storage_offset() | torch.numel(x) | x.is_floating_point() | n.is_signed() | x.nbytes | x.itemsize | torch.is_tensor(x) | x.is_complex()
conversions | x.tolist() | n.tolist() | s.item() | x.int() | x.long() | x.double() | x.half() | x.bfloat16() | x.bool() | n.float() | x.to(torch.int32) | x.to(n) | x.type(torch.float64) | x.type_as(n) | x.short() | x.char() | (x + 4).byte() | x.to(torch.float64, copy=True) | x.cpu() | x.numpy(force=True).shape
unravel_index | torch.unravel_index(i, (2, 2)) | torch.unravel_index(j, (3, 2)) | torch.unravel_index(i[0, 0], (2, 2)) | torch.unravel_index(i, (3,)) | torch.unravel_index(k, (3, 2, 2)) | torch.unravel_index(j, 7)
"""

TABLES["indexing"] = """
getitem | x[0] | x[-1] | x[:, 1] | x[1:, ::2] | x[..., 0] | x[None] | x[m] | x[i[0]] | x[i[0], i[1]] | x[:, j] | t[:, i[0]] | t[i[0] % 2, :, i[1]] | x[m.any(1)] | x[[0, 2]] | x[[0, 2], [1, 3]] | t[..., j] | t[0, i[0], 1:] | x[True] | t[:, m] | x[-1, -1] | x[1, ..., None, 2] | s[()] | s[None] | x[5] | x[:, 9] | t[j[:, None] % 2, j] | x[i] | x[0:0] | x[::-1]
setitem | set(x, 0, 1.5) | set(x, (slice(None), 1), v[:3]) | set(x, m, 0) | set(x, m, f12[:int(m.sum())]) | set(x, (i[0], i[1]), 1) | set(x, i[0], y[:3][[0, 1, 2, 0]]) | set(x, (Ellipsis, 0), s) | set(t, (slice(None), j[:2]), 2.0) | set(x, slice(1, None), y[1:]) | set(x, (slice(None, None, 2), slice(1, 3)), 7) | set(n, m, 3) | set(x, 7, 1)
gather | torch.gather(x, 0, i) | x.gather(1, i) | torch.gather(t, 2, i[None].expand(2, 3, 4)) | x.gather(1, i[:2, :2]) | torch.gather(v, 0, j) | x.gather(0, i + 5) | n.gather(1, i)
scatter | torch.scatter(x, 0, i, y) | x.scatter(1, ip, y) | x.scatter(1, i[:, :2], 5.0) | x.clone().scatter_(1, ip, y) | x.scatter(0, i + 3, y) | n.scatter(1, ip, q) | torch.zeros(3, 4, dtype=x.dtype).scatter_(1, ip, x)
scatter_add | torch.scatter_add(x, 0, i, y) | x.scatter_add(1, i, y) | x.clone().scatter_add_(1, i, y) | x.scatter_add(1, i[:2, :2], y) | n.scatter_add(0, i, q) | v.scatter_add(0, j, f5)
scatter_reduce | x.scatter_reduce(0, i, y, 'sum') | x.scatter_reduce(1, i, y, 'prod') | x.scatter_reduce(0, i, y, 'mean') | x.scatter_reduce(0, i, y, 'amax') | x.scatter_reduce(1, i, y, 'amin', include_self=False) | x.scatter_reduce(0, i, y, 'sum', include_self=False) | x.scatter_reduce(1, i, y, 'mean', include_self=False) | n.scatter_reduce(0, i, q, 'amax')
index_select | torch.index_select(x, 0, j) | x.index_select(1, j) | t.index_select(2, j) | v.index_select(0, j) | x.index_select(0, j[:0]) | n.index_select(0, j) | x.index_select(0, j + 9)
index_add | torch.index_add(x, 0, j, y5) | x.index_add(0, j, y5, alpha=2) | x.clone().index_add_(0, j, y5) | v.index_add(0, j, f5) | x.t().index_add(1, j, y5.t()) | n.index_add(0, j, n5)
index_copy | torch.index_copy(x, 0, jp, y[:3]) | x.clone().index_copy_(0, jp, y[:3]) | x.index_copy(1, jp, y[:, :3]) | n.index_copy(0, jp, q) | v.index_copy(0, jp, v[:3] * 2) | x.index_copy(0, jp[:1], y[:1])
index_fill | torch.index_fill(x, 0, j, 2.0) | x.index_fill(1, j, -1) | x.clone().index_fill_(0, j, 0) | n.index_fill(0, j, 7) | x.index_fill(0, j, s.detach()) | t.index_fill(2, j, 1)
index_put | torch.index_put(x, (i[0], i[1]), v) | x.index_put((j,), y5) | x.index_put((j,), y5, accumulate=True) | x.clone().index_put_((i[0], i[1]), v, accumulate=True) | x.index_put((m,), s) | x.index_put((i[0],), s, True)
index_reduce | torch.index_reduce(x, 0, j, y5, 'prod') | x.index_reduce(0, j, y5, 'mean') | x.index_reduce(0, j, y5, 'amax') | x.index_reduce(0, j, y5, 'amin', include_self=False) | v.index_reduce(0, j, f5, 'amax') | x.index_reduce(0, j, y5, 'mean', include_self=False)
masked_select | torch.masked_select(x, m) | x.masked_select(m[0]) | t.masked_select(m) | n.masked_select(m) | x.masked_select(m & ~m) | v.masked_select(m)
masked_scatter | x.masked_scatter(m, y) | x.clone().masked_scatter_(m, y) | x.masked_scatter(m[0], y) | n.masked_scatter(m, q) | x.masked_scatter(m, f12) | x.masked_scatter(m, v[:1])
take | torch.take(x, j) | x.take(i) | torch.take(t, i) | x.take(j - 3) | x.take(j + 99) | n.take(j)
put | torch.put(x, j3, v[:3]) if hasattr(torch, 'put') else 0 | x.clone().put_(j3, v[:3]) | x.clone().put_(j, f5, accumulate=True) | x.put(j3, v[:3]) | n.clone().put_(j3, q[0, :3]) | x.put(j, f5, True)
take_along_dim | torch.take_along_dim(x, i, 0) | torch.take_along_dim(x, i, dim=1) | torch.take_along_dim(x, i) | x.take_along_dim(x.argsort(1), 1) | torch.take_along_dim(x, i[:1], 0) | torch.take_along_dim(t, i[None, :, :1], 2)
nonzero | torch.nonzero(m) | n.nonzero() | torch.nonzero(m, as_tuple=True) | torch.argwhere(n) | torch.nonzero(m & ~m) | torch.nonzero(k[0]) | torch.nonzero(x > 0)
searchsorted | torch.searchsorted(sv, x.detach()) | torch.searchsorted(sv, v.detach(), right=True) | torch.searchsorted(sv, 0.5) | torch.searchsorted(sv, x.detach(), out_int32=True) | torch.searchsorted(sv[None].expand(3, -1).contiguous(), x.detach()) | torch.searchsorted(sv, x.detach(), side='right')
bucketize | torch.bucketize(x.detach(), sv) | torch.bucketize(x.detach(), sv, right=True) | torch.bucketize(0.5, sv) | torch.bucketize(x.detach(), sv, out_int32=True) | torch.bucketize(n, torch.tensor([-2, 0, 3])) | torch.bucketize(t, sv)
isin | torch.isin(n, q) | torch.isin(n, torch.tensor([1, 2])) | torch.isin(n, 2) | torch.isin(n, q, invert=True) | torch.isin(3, n) | torch.isin(x, x[0])
select_scatter | torch.select_scatter(x, v, 0, 1) | torch.slice_scatter(x, y[1:], 0, 1) | torch.diagonal_scatter(sq, v) | x.select_scatter(v[:3], 1, 2) | torch.slice_scatter(x, y[:, :2], 1, 0, 4, 2) | torch.diagonal_scatter(sq, v[:3], 1)
fill_diagonal_ | sq.clone().fill_diagonal_(2) | x.clone().fill_diagonal_(1) | sq.clone().fill_diagonal_(0, wrap=True) | n.clone().fill_diagonal_(9) | x.t().clone().fill_diagonal_(1) | torch.zeros(7, 3).fill_diagonal_(1, wrap=True)
"""

TABLES["sorting"] = """
sort | torch.sort(x) | torch.sort(x, 0) | torch.sort(x, descending=True) | x.sort(dim=1, stable=True) | torch.sort(t, 1).values | torch.sort(k, stable=True) | torch.sort(s) | torch.sort(e, 0) | torch.sort(k, 1, descending=True, stable=True)
argsort | torch.argsort(x) | torch.argsort(x, 0) | x.argsort(descending=True) | torch.argsort(k, stable=True) | torch.argsort(k, dim=0, descending=True, stable=True) | torch.argsort(v)
topk | torch.topk(x, 2) | torch.topk(x, 2, 0) | x.topk(3, largest=False) | torch.topk(t, 1, dim=1).values | torch.topk(v, 4) | torch.topk(x, 9) | torch.topk(x, 0)
kthvalue | torch.kthvalue(x, 2) | torch.kthvalue(x, 1, 0) | x.kthvalue(3, 1, True) | torch.kthvalue(v, 4) | torch.kthvalue(x, 2).values | torch.kthvalue(x, 9)
msort | torch.msort(x) | torch.msort(v) | torch.msort(t) | x.msort() | torch.msort(n) | torch.msort(x.t())
"""

TABLES["copies of views"] = """
alias_copy | torch.alias_copy(x) | torch.alias_copy(t.mT) | torch.alias_copy(s) | torch.alias_copy(e)
as_strided_copy | torch.as_strided_copy(f12.clone(), (3, 2), (4, 1)) | torch.as_strided_copy(f12.clone(), (2, 2), (1, 1), 3) | torch.as_strided_copy(f12.clone(), (), ()) | torch.as_strided_copy(n, (2,), (5,), 1)
as_strided_scatter | torch.as_strided_scatter(f12, sq[:3, :2], (3, 2), (4, 1)) | torch.as_strided_scatter(f12, v[:2], (2,), (3,), 1) | torch.as_strided_scatter(f12, x, (3, 3), (4, 1))
diagonal_copy | torch.diagonal_copy(x) | torch.diagonal_copy(t, 1, 0, 2) | torch.diagonal_copy(sq, -1) | torch.diagonal_copy(v)
narrow_copy | torch.narrow_copy(x, 1, 1, 2) | torch.narrow_copy(t, 0, 0, 1) | torch.narrow_copy(x, -1, -2, 2) | torch.narrow_copy(x, 0, 2, 3)
select_copy | torch.select_copy(x, 0, 1) | torch.select_copy(t, -1, -2) | torch.select_copy(v, 0, 3) | torch.select_copy(x, 1, 9)
split_copy | torch.split_copy(x, 2) | torch.split_copy(t, 3, 2) | torch.split_copy(v, 1)
transpose_copy | torch.transpose_copy(x, 0, 1) | torch.transpose_copy(t, -1, 0) | torch.transpose_copy(s, 0, -1)
unbind_copy | torch.unbind_copy(x) | torch.unbind_copy(t, -1) | torch.unbind_copy(v)
unsqueeze_copy | torch.unsqueeze_copy(x, 0) | torch.unsqueeze_copy(t, -2) | torch.unsqueeze_copy(s, 0) | torch.unsqueeze_copy(x, 4)
empty_strided | torch.empty_strided((2, 3), (1, 2)).stride() | torch.empty_strided((2, 3), (1, 2), dtype=torch.int8).dtype | torch.empty_strided((), ()).shape | torch.empty_strided((0, 2), (2, 1)).shape
frombuffer | torch.frombuffer(bytearray(array), dtype=torch.float32) | torch.frombuffer(bytearray(array), dtype=torch.int16, count=3, offset=4) | torch.frombuffer(bytearray(array), dtype=torch.float64, count=2)
range | torch.range(0, 3) | torch.range(1, 2, 0.25) | torch.range(3, 0, -1) | torch.range(1, 4, dtype=torch.float64) | torch.range(3, 0)
copy_ | x.clone().copy_(y) | x.clone().copy_(v) | x.t().clone().copy_(n.t()) | n.clone().copy_(x.detach()) | x.detach().clone().copy_(m) | v.clone().copy_(x)
resize_ | x.detach().clone().resize_(2, 3) | x.detach().clone().resize_((12,)) | n.clone().resize_(3, 2).stride() | x.detach().clone().resize_(4, 4).shape
set_ | x.detach().clone().set_(y.detach()) | torch.empty(2).set_(torch.ones(3, 2).mT)
sum_to_size | x.sum_to_size(1, 4) | x.sum_to_size(3, 1) | t.sum_to_size(3, 4) | t.sum_to_size(1, 1, 1) | x.sum_to_size(2, 4)
"""
