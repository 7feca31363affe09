# ruff: noqa: E501
"""Short programs whose output PyTorch and tritorch share; `expected.json` has PyTorch's.

`record.py` writes that file where PyTorch is installed. `torch` is the library under test, `x` a 3 x 4 float
tensor, `i` a 3 x 4 integer tensor, `m` a mask, `w` a leaf that requires a gradient.
"""

PRELUDE = """
x = torch.tensor([[0.5, -1.25, 2.0, 3.5], [1.0, 0.0, -2.5, 4.0], [-0.75, 1.5, 2.25, -3.0]])
i = torch.tensor([[3, 1, 2, 0], [5, 4, 7, 6], [9, 11, 8, 10]])
m = torch.tensor([[True, False, True, False], [False, True, True, False], [True, True, False, False]])
w = x.clone().requires_grad_()
v = torch.tensor([1.0, 2.0, 3.0, 4.0])
"""

PRINTING = """
x
i
m
x * 1e6
x * 1e-6
x.double()
x.half()
x.bfloat16()
i.int()
i.to(torch.uint8)
torch.tensor(3.0)
torch.tensor(7)
torch.tensor(True)
torch.tensor([])
torch.zeros(0, 3)
torch.zeros(2, 0, dtype=torch.int64)
torch.tensor([1.0, float('nan'), float('inf'), -float('inf')])
torch.tensor([float('nan')])
torch.tensor([1e-8, 1.0])
torch.tensor([1e10, 1.0])
torch.tensor([1e10, 2e10])
torch.arange(1001)
torch.arange(2000.).reshape(40, 50)
torch.arange(100)
torch.zeros(2, 3, 4)
torch.zeros(1, 1, 2, 2)
torch.ones(30, 40, 2)
torch.linspace(0, 1, 30)
w
w * 2
w.sum()
w[0]
w.t().exp().mean(0)
x.shape
x.size(0), x.dtype, x.device, x.stride(), x.numel(), x.dim()
torch.float32, torch.long, torch.bool
torch.device('cpu'), torch.device('cuda:1')
torch.Size([1, 2]), torch.Size([2]) + (3,), torch.Size([2, 3])[1:]
f'{x.sum():.3f} {i[0, 0]} {x.shape}'
str(torch.tensor(1.5)), f'{torch.tensor(2)}'
torch.finfo(torch.float32).eps, torch.iinfo(torch.int8).max
torch.get_default_dtype()
"""

ARITHMETIC = """
x + x, x - 1, 1 - x, x * 2, x / 2, 2 / (x + 10), x // 0.7, x % 0.7, -x, abs(x), x ** 2, x ** 3, 2 ** x, x ** 0.5
i + 1, i - i, i * 2, i / 2, i // 2, i % 3, -i, i ** 2, 2 ** i, i + 0.5, i * 1.5, i / i.clamp(min=1)
i + m, m + m, m * m, m + 1, m * 1.5, m & m, m | ~m, m ^ m, ~m, i & 3, i | 1, i ^ 5, i << 1, i >> 1, ~i
x + v, x * v, v + x.double(), (i + v).dtype, (x.half() + x).dtype, (x.half() + x.bfloat16()).dtype
(i.int() + i).dtype, (i.to(torch.uint8) + i.to(torch.int8)).dtype, (x + torch.tensor(1.0).double()).dtype
(i + torch.tensor(1.5)).dtype, (x.half() + 1.5).dtype, (m + 1.5).dtype, (torch.tensor(1) + x.half()).dtype
x > 0, x >= v, x < v, x <= 0, x == x, x != x, i > 4, i == 3, x > i
torch.add(x, v, alpha=2), x.sub(v, alpha=0.5), x.add(1), torch.mul(x, v), x.div(v, rounding_mode='floor'), x.div(v, rounding_mode='trunc')
i.div(2, rounding_mode='floor'), (-i).div(2, rounding_mode='trunc'), i.floor_divide(-2), (-i) // 4, (-i) % 4, torch.fmod(-i, 4)
torch.maximum(x, v), torch.minimum(x, v), x.clamp(-1, 1), x.clamp(min=0), x.clamp(max=v), x.clamp_min(0.5), i.clamp(2, 5)
torch.lerp(x, v.expand(3, 4), 0.25), torch.addcmul(x, x, v, value=2), torch.addcdiv(x, x, v, value=0.5)
x.exp(), x.abs().log(), x.abs().sqrt(), x.sin(), x.cos(), x.tanh(), x.sigmoid(), x.floor(), x.ceil(), x.round(), x.trunc(), x.sign(), x.frac()
i.exp(), i.sqrt(), i.abs(), i.sin().dtype, m.exp().dtype
torch.where(m, x, v), torch.where(m, x, 0.0), torch.where(m, 1, 0), torch.where(m, i, x).dtype, torch.where(m, 1.0, 0.0).dtype
x.masked_fill(m, -1.0), i.masked_fill(m, 0), torch.isnan(x / 0 * 0), torch.nan_to_num(torch.tensor([float('nan'), float('inf')]))
torch.atan2(x, v), torch.hypot(x, v), torch.pow(2.0, v), torch.pow(v, v), x.reciprocal(), x.square(), x.neg(), x.rsqrt()
torch.logical_and(m, x), torch.logical_not(x), torch.logical_xor(i, m), x.logical_or(m)
torch.isclose(x, x + 1e-9), torch.allclose(x, x + 1e-9), torch.equal(x, x), torch.equal(x, v)
torch.result_type(x, 1), torch.result_type(i, 1.5), torch.promote_types(torch.int8, torch.uint8), torch.can_cast(torch.float32, torch.int64)
x.erf(), torch.special.expm1(x) if hasattr(torch, 'special') else x.expm1(), x.log1p(), torch.logaddexp(x, v.expand(3, 4))
torch.relu(x), torch.softmax(x, 1), torch.log_softmax(x, 0), x.softmax(-1, dtype=torch.float64).dtype
round(2.5), x.round(decimals=1), bool(torch.tensor(0.0)), int(torch.tensor(3.7)), float(torch.tensor(2))
"""

REDUCTIONS = """
x.sum(), x.sum(0), x.sum(1, keepdim=True), x.sum((0, 1)), x.sum(dim=(0,), keepdim=True), i.sum(), m.sum(), i.int().sum().dtype, x.sum(dtype=torch.float64)
x.mean(), x.mean(0), x.mean((0, 1), keepdim=True), i.float().mean(1), x.var(), x.var(0), x.std(1), x.var(unbiased=False), x.std(0, correction=0), torch.var_mean(x, 1)
x.prod(), x.prod(1), i.prod(0), x.amax(1), x.amin((0, 1)), x.max(), x.min(), x.argmax(), x.argmin(1), x.argmax(0, keepdim=True)
x.max(1), x.min(0), i.max(1, keepdim=True), torch.max(x, v), torch.min(x, v.expand(3, 4))
m.any(), m.all(1), m.any(0), (x > -9).all(), x.any(), i.all(1), torch.count_nonzero(x), torch.count_nonzero(m, 0)
x.norm(), x.norm(dim=1), x.norm(1), x.norm(p=float('inf'), dim=0), x.logsumexp(1), torch.logsumexp(x, (0, 1)), x.nansum()
x.cumsum(0), x.cumsum(1), i.cumsum(1), m.cumsum(0), x.cumprod(1), x.cummax(1), x.cummin(0)
x.sort(1), x.sort(0, descending=True), x.argsort(1), x.topk(2), x.topk(2, dim=0, largest=False), x.kthvalue(2, 1), x.median(), x.median(1), i.mode(1).values
torch.unique(torch.tensor([3, 1, 2, 3, 1])), torch.unique(torch.tensor([3, 1, 2, 3, 1]), return_inverse=True, return_counts=True), torch.unique_consecutive(torch.tensor([1, 1, 2, 2, 1]), return_counts=True)
torch.bincount(torch.tensor([1, 1, 3])), torch.bincount(torch.tensor([1, 1, 3]), minlength=6), torch.histc(v, 4, 0, 4), torch.searchsorted(v, x), torch.bucketize(x, v, right=True), torch.isin(i, torch.tensor([1, 5]))
torch.quantile(x, 0.25), torch.quantile(x, torch.tensor([0.1, 0.5]), dim=1), x.quantile(0.5, 0, keepdim=True)
torch.tensor([]).sum(), torch.zeros(0, 3).sum(0), torch.zeros(0, 3).mean(), torch.zeros(2, 0).prod(1), torch.zeros(3, 0).amax(0).shape
torch.cdist(x, x), torch.cdist(x[None], x[:2], p=1), x.diff(), x.diff(n=2, dim=0), torch.trapezoid(x), torch.trapz(x, v), torch.cumulative_trapezoid(x, dx=2), x.cov(), x.corrcoef(), x.logcumsumexp(1)
torch.aminmax(x), torch.std_mean(x), torch.dist(x, x + 1), x.count_nonzero(1)
torch.tensor([1.0, float('nan'), 2.0]).max(), torch.tensor([1.0, float('nan'), 2.0]).argmax(), torch.tensor([1.0, float('nan'), 2.0]).sort()
"""

VIEWS = """
x.view(4, 3), x.view(-1), x.view(2, -1, 3), x.reshape(6, 2), x.t().reshape(-1), x.flatten(), x.unflatten(1, (2, 2)), x.ravel()
x.t(), x.T, x.transpose(0, 1), x.permute(1, 0), x.mT, x.movedim(0, 1), x.unsqueeze(0).shape, x.unsqueeze(-1).shape, x[None].squeeze().shape
x.unsqueeze(1).squeeze(1).shape, x.expand(2, 3, 4).shape, v.expand(3, -1), x.broadcast_to((2, 3, 4)).stride(), v.expand_as(x).stride()
x.narrow(1, 1, 2), x.select(0, 1), x.split(2, 1), x.split([1, 3], 1), x.chunk(2, 1), x.chunk(3), x.unbind(0), torch.tensor_split(v, 3)
x.diagonal(), x.diagonal(1), x.diag(), v.diag(), v.diag(1), torch.diag_embed(v[:2]), x.tril(), x.triu(1), torch.trace(x), x.unfold(1, 2, 1), x.as_strided((2, 2), (1, 2), 1)
x.contiguous().is_contiguous(), x.t().is_contiguous(), x.t().contiguous().stride(), x.t().clone().stride(), (x.t() + 1).stride(), x[:, ::2].clone().stride(), x[:, 1:].is_contiguous()
torch.cat([x, x]), torch.cat([x, i], 1), torch.cat((v, v)), torch.stack([v, v]), torch.stack([v, v], 1), torch.hstack([v, v]), torch.vstack([v, v]), torch.dstack([v, v]).shape, torch.column_stack([v, v])
x.repeat(2, 1), x.repeat(2, 1, 1).shape, v.repeat(2), v.tile(2), v.repeat_interleave(2), x.repeat_interleave(2, 0), v.repeat_interleave(torch.tensor([0, 1, 2, 3])), x.flip(0), x.flip([0, 1]), x.roll(1), x.roll(1, 0), x.roll((1, 2), (0, 1)), x.rot90()
torch.meshgrid(v[:2], v[:3], indexing='ij'), torch.meshgrid(v[:2], v[:3], indexing='xy'), torch.cartesian_prod(v[:2], v[:2]), torch.block_diag(x[:1, :2], x[1:2, :1])
torch.broadcast_tensors(x, v)[1].shape, torch.broadcast_shapes((3, 1), (4,)), torch.atleast_2d(v).shape, torch.tril_indices(3, 3), torch.triu_indices(2, 3, 1)
x.storage_offset(), x[1:].storage_offset(), x[1:, 2].storage_offset(), x.element_size(), x.nbytes, x.is_floating_point(), i.is_floating_point()
x.swapaxes(0, 1).shape, torch.moveaxis(x[None], 0, -1).shape, x.view_as(x.t()).shape, x.reshape_as(x.t()), torch.fliplr(x), torch.flipud(x)
x.view(torch.int32)[0], x.type(), x.type(torch.float64).dtype, x.to(torch.int64), x.to('cpu') is x, x.float() is x, x.double().type(), i.type_as(x).dtype, x.long(), x.bool(), x.int().dtype
"""

INDEXING = """
x[0], x[-1], x[1, 2], x[1][2], x[:, 1], x[..., 0], x[0:2, 1:3], x[::2], x[:, ::3], x[None, 0].shape, x[:, None, 1].shape, x[..., None].shape, x[1:1]
x[[0, 2]], x[[0, 2], [1, 3]], x[:, [0, 2]], x[torch.tensor([2, 0])], x[torch.tensor([[0, 1], [2, 0]])].shape, x[torch.tensor(1)], x[torch.tensor([0, 1]), 2], x[1, torch.tensor([0, 3])]
x[m], i[i > 4], x[m[:, 0]], x[:, m[0]], x[torch.tensor([True, False, True])], x[None][:, m].shape, x[True].shape, x[False].shape
x[torch.tensor([-1, -2])], x[..., torch.tensor([0, 1])], x[torch.tensor([0, 1])[:, None], torch.tensor([1, 2])], torch.zeros(2, 3, 4, 5)[:, [0, 1], :, [0, 1]].shape, torch.zeros(2, 3, 4, 5)[:, [0, 1], [0, 1]].shape
y = x.clone(); y[0] = 9; y[:, 1] = v[:3]; y[1, 2] = -1; y
y = x.clone(); y[m] = 0; y[i > 8] = torch.tensor(7.0); y
y = x.clone(); y[[0, 1], [2, 3]] = torch.tensor([5.0, 6.0]); y[torch.tensor([2])] = v; y
y = x.clone(); y[m] = torch.arange(6.0); y
y = x.clone(); y[..., 0] += 1; y[1:] *= 2; y[:, 2:] = x[:, :2]; y
y = i.clone(); y[0] = 2.7; y[1] = m[1]; y
y = torch.zeros(3, 3); y[range(3), range(3)] = 1.0; y
y = torch.zeros(4); y[torch.tensor([1, 1, 2])] += 1; y
torch.gather(x, 1, i[:, :2] % 4), x.gather(0, torch.tensor([[0, 1, 2, 0]])), torch.take_along_dim(x, x.argsort(1), 1), x.take(torch.tensor([0, 5])), x.index_select(1, torch.tensor([3, 0])), torch.index_select(x, 0, torch.tensor([1]))
torch.zeros(3, 4).scatter(1, torch.tensor([[0], [1], [2]]), 1.0), torch.zeros(3, 4).scatter_(1, torch.tensor([[0, 1], [1, 2], [2, 3]]), x), torch.zeros(4).scatter_add(0, torch.tensor([0, 1, 0]), v[:3]), torch.ones(4).scatter_reduce(0, torch.tensor([0, 1, 0]), v[:3], 'prod'), torch.zeros(3).scatter_reduce(0, torch.tensor([0, 1, 0]), v[:3], 'mean', include_self=False), torch.zeros(3).scatter_reduce(0, torch.tensor([0, 1, 0]), v[:3], 'amax')
torch.zeros(3, 4).index_add(0, torch.tensor([0, 0]), x[:2]), torch.zeros(3, 4).index_add_(0, torch.tensor([2, 1]), x[:2], alpha=2), torch.zeros(3, 4).index_copy(0, torch.tensor([2]), x[:1]), x.index_fill(1, torch.tensor([0]), 7.0)
m.nonzero(), m.nonzero(as_tuple=True), torch.nonzero(v), torch.argwhere(m).shape, x.masked_select(m), torch.where(m), torch.zeros(3).nonzero(), torch.masked_select(x, x > 1), x.masked_scatter(m, v.repeat(2))
torch.zeros(2, 3).index_put((torch.tensor([0, 1]), torch.tensor([1, 2])), torch.tensor([5.0, 6.0])), torch.zeros(3).index_put_((torch.tensor([0, 0]),), torch.tensor([1.0, 2.0]), accumulate=True)
len(x), [row.shape for row in x], 3 in i, 99 in i, list(v), v.tolist(), i.tolist(), x[0, 0].item(), i[0, 0].item(), m[0, 0].item(), [int(k) for k in i[0]]
torch.nn.functional.one_hot(torch.tensor([0, 2, 1])), torch.nn.functional.one_hot(torch.tensor([[0], [1]]), 3).shape
torch.ones(4, dtype=torch.bool).index_put_((torch.tensor([0, 1, 1]),), torch.tensor([True, True, True]), accumulate=True), torch.ones(3, dtype=torch.bool).scatter_add(0, torch.tensor([0, 0, 1]), torch.tensor([True, True, False]))
torch.zeros(0, 3)[np.zeros((0, 3), dtype=bool)].shape, torch.zeros(2, 0)[np.zeros((2, 0), dtype=bool)].shape
y = v.clone(); y[v > 2] = torch.tensor([[7.0, 8.0]]); y[torch.tensor([0, 1])] = torch.tensor([[[5.0]]]); y
[w[k].grad_fn.name() for k in (None, (..., None), (None, 0), (0, None), (slice(1, 2), None), (slice(None), slice(0, 2)), (slice(None), slice(None)), (1, slice(0, 2)), (slice(0, 1), 1))]
[1, 2, 3][torch.tensor(1)], range(5)[torch.tensor(2)], x[torch.tensor(0), torch.tensor(1)]
"""

CREATION = """
torch.zeros(2, 3), torch.ones((2,)), torch.full((2, 2), 7), torch.full((2,), 1.5), torch.full((1,), True), torch.empty(2, 0), torch.eye(3), torch.eye(2, 3), torch.zeros(()), torch.ones(2, dtype=torch.int64)
torch.arange(5), torch.arange(1, 4), torch.arange(1, 2, 0.25), torch.arange(5.0), torch.arange(5, 0, -2), torch.arange(0, 1, 0.3), torch.arange(3, dtype=torch.float64), torch.linspace(0, 1, 5), torch.linspace(-1, 1, 4, dtype=torch.float64), torch.logspace(0, 2, 3)
torch.zeros_like(x), torch.ones_like(i), torch.full_like(x, 3), torch.empty_like(x).shape, torch.zeros_like(x.t()).stride(), torch.ones_like(x, dtype=torch.int32), x.new_zeros(2), x.new_ones(2, 2), x.new_full((2,), 5), i.new_tensor([1, 2]), i.new_zeros((2, 2)).dtype, x.new_empty(3).shape
torch.tensor([1, 2]), torch.tensor([1.0, 2]), torch.tensor([[True], [False]]), torch.tensor(((1, 2), (3, 4))), torch.tensor(3, dtype=torch.float64), torch.tensor([1, 2], dtype=torch.bool), torch.tensor(range(3)), torch.as_tensor([1, 2]), torch.tensor(x).shape
torch.tensor(np.arange(3)), torch.from_numpy(np.arange(3.0)), torch.tensor(np.float32(1.5)), torch.as_tensor(np.ones((2, 2), np.float32)), torch.tensor([np.float64(1), 2]), torch.tensor([torch.tensor(1), torch.tensor(2)]), torch.tensor(np.array([True, False]))
x.numpy(), i.numpy().dtype, np.asarray(x).shape, x.t().numpy().strides, np.sum(x.numpy()), x.numpy().sum(), np.array(x)[0], x.bool().numpy().dtype
torch.Tensor([1, 2]), torch.Tensor(2, 0), torch.FloatTensor([1, 2]), torch.LongTensor([1, 2]), isinstance(torch.zeros(1), torch.FloatTensor), torch.is_tensor(x), torch.numel(x)
torch.complex64 if False else 0, torch.scalar_tensor(2.0), torch.frombuffer(bytearray(np.arange(3, dtype=np.int32).tobytes()), dtype=torch.int32)
copy.deepcopy(x), copy.copy(x) is x, pickle.loads(pickle.dumps(x)), pickle.loads(pickle.dumps(i.t())), copy.deepcopy(w).requires_grad
a = np.zeros(3); b = torch.from_numpy(a); b[0] = 5; a[1] = 7; (a, b)
torch.tensor([1.5, 2.5]).int(), torch.tensor([-1.5]).to(torch.uint8) if False else 0, torch.tensor([300]).to(torch.uint8), torch.tensor([1e10]).to(torch.float16), torch.tensor([0.1]).bfloat16(), torch.tensor(0.1).double(), torch.tensor([True]).float()
x.data_ptr() == x.view(-1).data_ptr(), x[1].data_ptr() - x.data_ptr(), x.detach().data_ptr() == x.data_ptr(), x.clone().data_ptr() == x.data_ptr()
torch.manual_seed(0) is not None, torch.rand(3, 4).shape, torch.randn(2).dtype, torch.randint(3, (4,)).dtype, torch.randperm(5).sort().values, torch.rand(1000).mean().sub(0.5).abs() < 0.1, torch.randn(10000).std().sub(1).abs() < 0.05, torch.randint(2, 5, (100,)).unique(), torch.bernoulli(torch.ones(3)), torch.normal(0.0, 1.0, (2,)).shape
torch.multinomial(torch.tensor([0.0, 1.0, 0.0]), 1), torch.multinomial(torch.tensor([0.0, 1.0]), 4, replacement=True), torch.multinomial(torch.ones(2, 3), 3).sort(1).values
"""

INPLACE = """
y = x.clone(); y.add_(1).mul_(2).sub_(v).div_(2); y
y = x.clone(); y += 1; y -= v; y *= 2; y /= 4; y **= 2; y
y = i.clone(); y += 1; y //= 2; y %= 3; y &= 1; y |= 2; y ^= 1; y <<= 1; y
y = x.clone(); (y.zero_(), y.fill_(3), y.copy_(x), y.clamp_(0, 1), y.sqrt_(), y.exp_(), y.neg_(), y.abs_())[-1]
y = x.clone(); y.t().add_(torch.arange(4.0)[:, None]); y[:, 1].zero_(); y.view(-1)[0] = 5; y
y = x.clone(); y.masked_fill_(m, 0); y.addcmul_(x, x, value=2); y.lerp_(x, 0.5); y
y = torch.zeros(3); y.copy_(torch.tensor([1, 2, 3])); z = y.to(torch.int64); z.copy_(torch.tensor([1.7, 2.2, -1.5])); (y, z)
y = x.clone(); z = y[0]; y.add_(1); z.mul_(10); (y, z, y._version, z._version)
y = torch.empty(3, 4); torch.add(x, x, out=y); torch.mul(y, 2, out=y); y
y = torch.empty(0); torch.sum(x, 0, out=y); y
y = x.clone(); y.fill_diagonal_(0); y.triu_(); y
y = x.clone(); y.requires_grad_(); y.requires_grad, y.is_leaf, y.grad, y.grad_fn
y = x.clone(); y.resize_(2, 2); y.shape
y = x.clone(); y.index_fill_(0, torch.tensor([0]), 1).unsqueeze(0).shape
y = x.clone(); y.data.add_(1); y.data = v; y
"""

AUTOGRAD = """
w.sum().backward(); w.grad
(w * w).sum().backward(); (w * 2).sum().backward(); w.grad
y = w.exp().log().sum(); y.backward(); w.grad
y = (w ** 3).sum(); g, = torch.autograd.grad(y, w, create_graph=True); h, = torch.autograd.grad(g.sum(), w); (g.detach(), h)
w.max().backward(); w.grad
w.max(1).values.sum().backward(); w.grad
w.t()[0].sum().backward(); w.grad
w[m].sum().backward(); w.grad
w[:, 1:3].mul(2).sum().backward(); w.grad
w.softmax(1)[:, 0].sum().backward(); w.grad
w.view(2, 6).permute(1, 0).reshape(3, 4).mul(x).sum().backward(); w.grad
y = w * 1; y[0] = 0; y[:, 1] *= 3; y.sum().backward(); w.grad
y = w * 1; z = y[1]; z.mul_(2); y.sum().backward(); (w.grad, z.grad_fn is not None)
y = w * 1; y[m] = 5.0; (y * y).sum().backward(); w.grad
y = w * 1; y.view(-1)[2:5].exp_(); y.sum().backward(); w.grad
y = torch.zeros(3, 4); y[1:] = w[1:] * 2; y.sum().backward(); (w.grad, y.requires_grad)
y = torch.zeros(3, 4); z = y[0]; z.copy_(w[0]); (y * 3).sum().backward(); w.grad
y = w.clone(); y.relu_(); y.sum().backward(); w.grad
y = torch.arange(8.0)[::2].detach(); y[1] = w[0, 0]; (y * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward(); w.grad
y = torch.ones(3, 4, 2) * w[..., None]; y[np.array([[True, False, True, False]] * 3), np.int64(-1)] *= 5; y.sum().backward(); w.grad
y = w * 1; y.tensor_split(2, 1)[0].mul_(3); y.hsplit([1])[0].add_(1); (y * y).sum().backward(); (w.grad, [p.tolist() for p in v.tensor_split((3, 1))], w.tensor_split(2)[0].grad_fn.name(), w.split([1, 2])[0].grad_fn.name())
y = torch.ones(3, 8)[:, ::2].detach().requires_grad_(); (y.t() * v[:, None]).sum().backward(); y.grad.stride(), y.grad
torch.zeros(2, 0, dtype=torch.int32).median(), torch.zeros(0, dtype=torch.uint8).median(), torch.zeros(0).median()
y = torch.zeros(2, 3); torch.add(torch.ones(3), 1, out=y); y
torch.arange(8.0)[::2].ravel().stride(), torch.tensor(2.0).unfold(0, 1, 1), torch.tensor(2.0).unfold(0, 0, 1).shape, w.T.grad_fn.name()
a, b, c, d = w.unbind(1); (a * b + c / d).sum().backward(); w.grad
torch.cat([w, w * 2], 1).sum().backward(); w.grad
torch.stack([w, w]).mean().backward(); w.grad
(w @ w.t()).sum().backward(); w.grad
torch.einsum('ij,kj->ik', w, w).diagonal().sum().backward(); w.grad
w.expand(2, 3, 4).sum().backward(); w.grad
(v.requires_grad_() * w).sum().backward(); (v.grad, w.grad)
w.sort(1).values[:, 0].sum().backward(); w.grad
w.cumsum(1).sum().backward(); w.grad
w.gather(1, torch.tensor([[0, 0], [1, 1], [2, 2]])).sum().backward(); w.grad
w.norm().backward(); w.grad
w.std().backward(); w.grad
w.var(1).sum().backward(); w.grad
w.prod(1).sum().backward(); w.grad
torch.cdist(w, x[:2]).sum().backward(); w.grad
w.logcumsumexp(1).sum().backward(); w.grad
w.logsumexp(0).sum().backward(); w.grad
w.abs().sum().backward(); w.grad
w.clamp(-1, 1).sum().backward(); w.grad
torch.where(m, w, 0.0).sum().backward(); w.grad
w.masked_fill(m, 0).sum().backward(); w.grad
w.floor().sum().backward(); w.grad
w.flip(0).mul(x).sum().backward(); w.grad
w.roll(1, 1).mul(x).sum().backward(); w.grad
w.tril().sum().backward(); w.grad
w.repeat(2, 2).sum().backward(); w.grad
w.unfold(1, 2, 1).sum().backward(); w.grad
w.as_strided((2, 2), (1, 1)).sum().backward(); w.grad
w.to(torch.float64).sum().backward(); w.grad
w.half().sum().backward(); w.grad
w.detach().requires_grad, w.data.requires_grad, (w * 1).is_leaf, w.is_leaf
y = torch.no_grad()(lambda: w * 2)(); y.requires_grad
y = w * 2; y.retain_grad(); y.sum().backward(); y.grad
seen = []; w.register_hook(lambda g: seen.append(g.sum().item())); (w * 2).sum().backward(); seen
w.register_hook(lambda g: g * 10); w.sum().backward(); w.grad
y = w * w; y.backward(torch.ones(3, 4), retain_graph=True); y.backward(torch.ones(3, 4)); w.grad
torch.nn.functional.cross_entropy(w, torch.tensor([0, 1, 3])).backward(); w.grad
torch.nn.functional.cross_entropy(w, torch.tensor([0, 1, -100]), label_smoothing=0.1).backward(); w.grad
torch.nn.functional.layer_norm(w, (4,)).pow(2).sum().backward(); w.grad.abs() < 1e-4
torch.nn.functional.linear(w, x, torch.ones(3)).sum().backward(); w.grad
torch.nn.functional.gelu(w).sum().backward(); w.grad
torch.nn.functional.mse_loss(w, x * 2).backward(); w.grad
[type(f(w).grad_fn).__name__ for f in (torch.add, torch.mul, torch.sub, torch.div) for f in (lambda t, f=f: f(t, 2),)]
[type(y.grad_fn).__name__ for y in (w.t(), w[0], w[1:], w.sum(), w.sum(0), w.mean(), w.mean(0), w.exp(), w.view(-1), w.clone(), w @ w.t(), w.max(), w.relu(), w[m], w.unsqueeze(0), w.expand(1, 3, 4), w.permute(1, 0), torch.cat([w]), torch.stack([w]), w.softmax(0), w.log_softmax(0), w.norm(), w.squeeze())]
"""

LINEAR_ALGEBRA = """
x @ x.t(), x.mm(x.t()), torch.matmul(x, v), torch.matmul(v, x.t()), v @ v, torch.dot(v, v), torch.mv(x, v), torch.outer(v, v[:2]), torch.bmm(x[None], x.t()[None]), torch.addmm(torch.ones(3), x, x.t(), beta=0.5, alpha=2), torch.baddbmm(torch.ones(1, 3, 3), x[None], x.t()[None])
torch.einsum('ij,kj->ik', x, x), torch.einsum('ij->j', x), torch.einsum('i,j->ij', v, v[:2]), torch.einsum('ii->i', x[:, :3]), torch.einsum('...j,j', x, v), torch.einsum('bij,bjk->bik', x[None], x.t()[None]).shape
i @ i.t(), i.float() @ v, torch.inner(x, v), torch.tensordot(x, x, dims=([1], [1])), (x[None].expand(2, 3, 4) @ x.t()).shape, torch.addmv(torch.ones(3), x, v)
torch.nn.functional.linear(x, x), torch.zeros(2, 0) @ torch.zeros(0, 3), torch.matmul(torch.ones(2, 1, 3, 4), torch.ones(5, 4, 2)).shape
"""

ERRORS = """
torch.ones(3) + torch.ones(4)
torch.ones(3, 2) @ torch.ones(4, 2)
torch.ones(3)[4]
torch.ones(3)[0, 1]
torch.ones(3)[1.5]
torch.ones(3)[torch.tensor([5])]
torch.ones(3)[torch.ones(2) > 0]
torch.ones(3).view(2, 2)
torch.ones(3, 4).t().view(12)
bool(torch.ones(3))
torch.ones(3).item()
torch.ones(3, requires_grad=True).numpy()
torch.ones(3, requires_grad=True).add_(1)
torch.ones(3, dtype=torch.int64, requires_grad=True)
torch.ones(3, dtype=torch.int64).add_(1.5)
torch.ones(3).backward()
torch.ones(3, requires_grad=True).mul(2).backward()
torch.cat([])
torch.cat([torch.ones(2, 3), torch.ones(3, 2)])
torch.stack([torch.ones(2, 3), torch.ones(3, 2)])
torch.ones(3).add_(torch.ones(2, 3))
m - m
torch.ones(3).sum(3)
torch.tensor([]).max()
torch.ones(0, 3).max(0)
torch.ones(2, 3).expand(4, 3)
torch.ones(2, 3).permute(0, 0)
torch.ones(2, 3).squeeze(5)
len(torch.tensor(1))
list(torch.tensor(1))
torch.ones(2).mean(dtype=torch.int64)
torch.ones(2, dtype=torch.int64).mean()
torch.zeros(-1)
torch.add(torch.ones(2), 'a')
torch.ones(2) + 'a'
torch.ones(2) + None
torch.ones(2) < 'a'
torch.tensor([[1, 2], [3]])
torch.tensor('a')
torch.tensor(None)
torch.tensor([2 ** 63])
torch.device('nonsense')
torch.ones(2, 3).reshape(-1, -1)
torch.arange(0, 5, -1)
torch.ones(3).expand(2, 3).add_(1)
torch.ones(2)[::-1]
w.view(-1)[0].add_(1)
y = torch.ones(2, requires_grad=True); z = y * 2; q = z * z; z.add_(1); q.sum().backward()
torch.tensor([1.0, 2.0]).gather(0, torch.tensor([5]))
torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 9]))
torch.nn.functional.embedding(torch.tensor([7]), x)
torch.tensor(1.5).__index__()
x.unflatten(1, (3, 2))
x.split([1, 1], 1)
torch.randint(3, 3, (2,))
torch.linspace(0, 1, -1)
x.scatter(0, torch.tensor([[5]]), 1.0)
torch.ones(2, dtype=torch.float32) @ torch.ones(2, dtype=torch.float64)
torch.where(x, x, x)
x.masked_fill(i, 0.0)
torch.pow(i, -1)
x.to('nonsense')
hash(x) == hash(x), x == None
"""

NOTHING = """
torch.tensor(3.).gather(0, torch.tensor(0)), torch.tensor(3.).gather(0, torch.tensor([0, 0]))
torch.tensor(3.).scatter(0, torch.tensor(0), 5.)
torch.tensor(3.).scatter_add(0, torch.tensor(0), torch.tensor(2.))
torch.tensor(3.).diff()
torch.tensor(3.).narrow(0, 0, 1)
torch.tensor(3.).split(1)
torch.tensor(3.).chunk(1)
torch.tensor(3.).unbind(0)
torch.tensor(3.).topk(1), torch.tensor(3.).mT, torch.tensor(3.).H
torch.tensor(3.).topk(2)
torch.ones(3).H
torch.trace(torch.ones(2, 2, 2))
torch.zeros(0).median(), torch.zeros(0).nanmedian(), torch.trapezoid(torch.zeros(0))
torch.zeros(0).kthvalue(1)
torch.linalg.vector_norm(torch.zeros(0), -1)
torch.stack([])
torch.zeros(0, 2).t().is_contiguous()
torch.ones(2, 3).as_strided((2, 2), (1,))
torch.ones(2, 3).flip(0, 0)
torch.ones(2, 3).rot90(1, (0, 0))
"""

BOUNDARY = """
np.sin(x), np.add(x, x), np.frexp(v), np.cumsum(v), np.sqrt(torch.tensor(4.0))
v + np.ones(4), v * np.float64(2), v @ np.ones(4)
torch.add(v, np.ones(4))
torch.sin(np.ones(4))
reversed(x)
torch.from_numpy(np.zeros(2, dtype='>f4'))
torch.tensor([1, None])
torch.tensor([-1, -255], dtype=torch.uint8)
torch.tensor([-256], dtype=torch.uint8)
copy.deepcopy([v, v[1:]])[1].storage_offset(), copy.deepcopy(w).requires_grad
pickle.loads(pickle.dumps(w * 2)).requires_grad
torch.finfo(torch.float16), torch.finfo(torch.bfloat16), torch.finfo(torch.float32).resolution
torch.add(i, i, alpha=1.5)
torch.add(m, m, alpha=2), torch.sub(x, v, alpha=2)
torch.norm(x, 'nuc'), torch.norm(x, 'nuc', dim=(0, 1), keepdim=True)
torch.argmax(v, out=torch.empty(0, dtype=torch.int32))
torch.max(x, 1, out=(torch.empty(0), torch.empty(0)))
torch.normal(0.0, -1.0, (2,))
torch.bernoulli(torch.tensor([1.5]))
torch.bernoulli(torch.tensor([float('nan')]))
"""

GROUPS = {
    "printing": PRINTING,
    "arithmetic": ARITHMETIC,
    "reductions": REDUCTIONS,
    "views": VIEWS,
    "indexing": INDEXING,
    "creation": CREATION,
    "inplace": INPLACE,
    "autograd": AUTOGRAD,
    "linear_algebra": LINEAR_ALGEBRA,
    "errors": ERRORS,
    "no dimensions, no elements": NOTHING,
    "boundary": BOUNDARY,
}


def programs() -> list[tuple[str, str]]:
    """(group, program) of all."""
    return [(group, line) for group, text in GROUPS.items() for line in text.strip().splitlines()]
