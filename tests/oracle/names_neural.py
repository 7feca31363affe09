"""`nn.functional`. See `tests.oracle.names`."""

from __future__ import annotations

TABLES: dict[str, str] = {}

_ACTIVATIONS = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "celu",
    "leaky_relu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "tanhshrink",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "logsigmoid",
    "hardshrink",
    "softshrink",
    "sigmoid",
    "tanh",
]
TABLES["activations"] = (
    "\n".join(
        f"F.{n} | F.{n}(x) | F.{n}(p) | F.{n}(t) | F.{n}(x * 10) | F.{n}(v) | F.{n}(s) | F.{n}(e)"
        for n in _ACTIVATIONS
    )
    + """
F.options | F.elu(x, 0.5) | F.leaky_relu(x, 0.2) | F.gelu(x, approximate='tanh') | F.softplus(x, 2, 3) | F.hardtanh(x, -0.5, 0.5) | F.hardshrink(x, 1.0) | F.softshrink(x, 0.2) | F.celu(x, 2.0) | F.elu(x.clone(), inplace=True) | F.relu(x.clone(), inplace=True) | F.leaky_relu(x.clone(), inplace=True)
F.prelu | F.prelu(x, v[:1]) | F.prelu(x, v) | F.prelu(t, v[:3]) | F.prelu(img, v[:3]) | torch.prelu(x, v) | F.prelu(v, v[:1])
F.rrelu | F.rrelu(x) | F.rrelu(x, 0.1, 0.1, training=True) | F.rrelu(t) | F.rrelu(x, 0.2, 0.4) | F.rrelu(p, training=True) | F.rrelu(v)
F.glu | F.glu(x) | F.glu(x, 1) | F.glu(t) | F.glu(img[:, :2], 1) | F.glu(v) | F.glu(x, 0)
F.softmax_family | F.softmax(x, 1) | F.log_softmax(x, 1) | F.softmin(x, 1) | F.gumbel_softmax(x, dim=1).shape | F.gumbel_softmax(x, hard=True).sum(-1) | F.softmax(img, 1)
F.normalize | F.normalize(x) | F.normalize(x, dim=0) | F.normalize(x, p=1.0) | F.normalize(t, dim=(1, 2)) | F.normalize(x, eps=10.) | F.normalize(v, dim=0)
F.cosine_similarity | F.cosine_similarity(x, y) | F.cosine_similarity(x, y, dim=0) | F.cosine_similarity(t, x, -1) | F.cosine_similarity(x, v, 1) | torch.cosine_similarity(x, y) | F.cosine_similarity(x * 0, y)
F.pairwise_distance | F.pairwise_distance(x, y) | F.pairwise_distance(x, y, 1) | F.pairwise_distance(x, y, keepdim=True) | F.pairwise_distance(x, v) | F.pairwise_distance(t, x) | F.pairwise_distance(x, y, p=inf)
"""
)

TABLES["losses"] = """
F.mse_loss | F.mse_loss(x, y) | F.mse_loss(x, y, reduction='sum') | F.mse_loss(x, y, reduction='none') | F.mse_loss(t, t * 2) | F.mse_loss(v, w) | F.mse_loss(x, y, weight=p)
F.l1_loss | F.l1_loss(x, y) | F.l1_loss(x, y, reduction='sum') | F.l1_loss(x, y, reduction='none') | F.l1_loss(t, t * 2) | F.l1_loss(v, w) | F.l1_loss(x, x)
F.smooth_l1_loss | F.smooth_l1_loss(x, y) | F.smooth_l1_loss(x, y, beta=0.5) | F.smooth_l1_loss(x, y, reduction='sum') | F.smooth_l1_loss(x, y, beta=0) | F.smooth_l1_loss(x, y, reduction='none') | F.smooth_l1_loss(v, w)
F.huber_loss | F.huber_loss(x, y) | F.huber_loss(x, y, delta=0.5) | F.huber_loss(x, y, reduction='sum') | F.huber_loss(x, y, reduction='none') | F.huber_loss(v, w) | F.huber_loss(x, y, delta=3.)
F.cross_entropy | F.cross_entropy(x, i[:, 0]) | F.cross_entropy(x, i[:, 0], weight=p[0]) | F.cross_entropy(x, i[:, 0], ignore_index=1) | F.cross_entropy(x, i[:, 0], label_smoothing=0.1) | F.cross_entropy(x, torch.softmax(y, 1)) | F.cross_entropy(x, i[:, 0], reduction='none') | F.cross_entropy(img, i2, reduction='sum') | F.cross_entropy(v, i[0, 0]) | F.cross_entropy(x, torch.softmax(y, 1), weight=p[0], label_smoothing=0.2) | F.cross_entropy(x, i[:, 0] + 9)
F.nll_loss | F.nll_loss(x, i[:, 0]) | F.nll_loss(x, i[:, 0], weight=p[0]) | F.nll_loss(x, i[:, 0], ignore_index=0) | F.nll_loss(x, i[:, 0], reduction='none') | F.nll_loss(img, i2) | F.nll_loss(x, i[:, 0], reduction='sum')
F.binary_cross_entropy | F.binary_cross_entropy(u, u.flip(0)) | F.binary_cross_entropy(u, (x > 0).to(u.dtype)) | F.binary_cross_entropy(u, u.flip(0), weight=p) | F.binary_cross_entropy(u, u.flip(0), reduction='sum') | F.binary_cross_entropy(u, u.flip(0), reduction='none') | F.binary_cross_entropy(x, u)
F.binary_cross_entropy_with_logits | F.binary_cross_entropy_with_logits(x, u) | F.binary_cross_entropy_with_logits(x, u, weight=p) | F.binary_cross_entropy_with_logits(x, u, pos_weight=p[0]) | F.binary_cross_entropy_with_logits(x, u, reduction='sum') | F.binary_cross_entropy_with_logits(x * 50, u, reduction='none') | F.binary_cross_entropy_with_logits(v, u[0])
F.kl_div | F.kl_div(x, u) | F.kl_div(x, u, reduction='batchmean') | F.kl_div(x, y, log_target=True) | F.kl_div(x, u, reduction='sum') | F.kl_div(x, u, reduction='none') | F.kl_div(x, u * (x > 0))
F.poisson_nll_loss | F.poisson_nll_loss(x, p) | F.poisson_nll_loss(p, p, log_input=False) | F.poisson_nll_loss(x, p * 3, full=True) | F.poisson_nll_loss(x, p, reduction='sum') | F.poisson_nll_loss(x, p, reduction='none') | F.poisson_nll_loss(u, u, log_input=False, eps=1e-3)
F.gaussian_nll_loss | F.gaussian_nll_loss(x, y, p) | F.gaussian_nll_loss(x, y, p, full=True) | F.gaussian_nll_loss(x, y, p[:, :1]) | F.gaussian_nll_loss(x, y, p, reduction='none') | F.gaussian_nll_loss(x, y, p, reduction='sum') | F.gaussian_nll_loss(x, y, p[:, 0])
F.hinge_embedding_loss | F.hinge_embedding_loss(x, sg) | F.hinge_embedding_loss(x, sg, margin=2) | F.hinge_embedding_loss(x, sg, reduction='sum') | F.hinge_embedding_loss(x, sg, reduction='none') | F.hinge_embedding_loss(x, -sg) | F.hinge_embedding_loss(p, sg)
F.margin_ranking_loss | F.margin_ranking_loss(x, y, sg) | F.margin_ranking_loss(x, y, sg, margin=1) | F.margin_ranking_loss(x, y, sg, reduction='sum') | F.margin_ranking_loss(x, y, sg, reduction='none') | F.margin_ranking_loss(v, w, sg[0]) | F.margin_ranking_loss(x, v, sg)
F.soft_margin_loss | F.soft_margin_loss(x, sg) | F.soft_margin_loss(x, sg, reduction='sum') | F.soft_margin_loss(x, sg, reduction='none') | F.soft_margin_loss(v, sg[0]) | F.soft_margin_loss(x * 5, sg) | F.soft_margin_loss(p, -sg)
F.multi_margin_loss | F.multi_margin_loss(x, i[:, 0]) | F.multi_margin_loss(x, i[:, 0], p=2) | F.multi_margin_loss(x, i[:, 0], margin=0.5) | F.multi_margin_loss(x, i[:, 0], weight=p[0]) | F.multi_margin_loss(x, i[:, 0], reduction='none') | F.multi_margin_loss(v, i[0, 0])
F.multilabel_margin_loss | F.multilabel_margin_loss(x, ml) | F.multilabel_margin_loss(x, ml, reduction='sum') | F.multilabel_margin_loss(x, ml, reduction='none') | F.multilabel_margin_loss(v, ml[0]) | F.multilabel_margin_loss(p, ml) | F.multilabel_margin_loss(x * 3, ml)
F.multilabel_soft_margin_loss | F.multilabel_soft_margin_loss(x, u) | F.multilabel_soft_margin_loss(x, u, weight=p[0]) | F.multilabel_soft_margin_loss(x, u, reduction='sum') | F.multilabel_soft_margin_loss(x, u, reduction='none') | F.multilabel_soft_margin_loss(x * 5, u) | F.multilabel_soft_margin_loss(p, u)
F.cosine_embedding_loss | F.cosine_embedding_loss(x, y, sg[:, 0]) | F.cosine_embedding_loss(x, y, sg[:, 0], margin=0.3) | F.cosine_embedding_loss(x, y, sg[:, 0], reduction='sum') | F.cosine_embedding_loss(x, y, sg[:, 0], reduction='none') | F.cosine_embedding_loss(x, x, sg[:, 0]) | F.cosine_embedding_loss(v, w, sg[0, 0])
F.triplet_margin_loss | F.triplet_margin_loss(x, y, z) | F.triplet_margin_loss(x, y, z, margin=0.5) | F.triplet_margin_loss(x, y, z, swap=True) | F.triplet_margin_loss(x, y, z, p=1) | F.triplet_margin_loss(x, y, z, reduction='none') | F.triplet_margin_with_distance_loss(x, y, z)
F.ctc_loss | F.ctc_loss(ctc.log_softmax(2), tg, (6, 5), (3, 2)) | F.ctc_loss(ctc.log_softmax(2), tg, torch.tensor([6, 6]), torch.tensor([2, 3]), reduction='none') | F.ctc_loss(ctc.log_softmax(2), tg, (6, 6), (3, 3), reduction='sum') | F.ctc_loss(ctc.log_softmax(2), tg.flatten(), (6, 6), (3, 3)) | F.ctc_loss(ctc.log_softmax(2), tg, (2, 6), (3, 3), zero_infinity=True) | F.ctc_loss(ctc[:, 0].log_softmax(1), tg[0], (6,), (3,))
"""

TABLES["convolutions"] = """
F.conv1d | F.conv1d(t, w1) | F.conv1d(t, w1, f5) | F.conv1d(t, w1, padding=1) | F.conv1d(t, w1, stride=2, padding=1) | F.conv1d(t, w1, dilation=2, padding=2) | F.conv1d(t, w1g, groups=3) | F.conv1d(t, w1, padding='same') | F.conv1d(t[0], w1) | F.conv1d(x, w1g)
F.conv2d | F.conv2d(img, w2) | F.conv2d(img, w2, f5, padding=1) | F.conv2d(img, w2, stride=2) | F.conv2d(img, w2, stride=(1, 2), padding=(2, 1)) | F.conv2d(img, w2, dilation=2, padding=2) | F.conv2d(img, w2g, groups=3, padding=1) | F.conv2d(img, w2, padding='same') | F.conv2d(img, w2, padding='valid') | F.conv2d(img[0], w2) | F.conv2d(img, w2[:, :, :1, :1]) | torch.conv2d(img, w2, None, 1, 1)
F.conv3d | F.conv3d(vol, w3) | F.conv3d(vol, w3, f5[:2]) | F.conv3d(vol, w3, padding=1) | F.conv3d(vol, w3, stride=2, padding=1) | F.conv3d(vol, w3, padding='same') | F.conv3d(vol[0], w3)
F.conv_transpose1d | F.conv_transpose1d(t, w1t) | F.conv_transpose1d(t, w1t, stride=2) | F.conv_transpose1d(t, w1t, f5[:2], padding=1) | F.conv_transpose1d(t, w1t, stride=2, output_padding=1) | F.conv_transpose1d(t, w1t, dilation=2) | F.conv_transpose1d(t, w1g, groups=3)
F.conv_transpose2d | F.conv_transpose2d(img, w2t) | F.conv_transpose2d(img, w2t, stride=2) | F.conv_transpose2d(img, w2t, f5[:2], padding=1) | F.conv_transpose2d(img, w2t, stride=2, padding=1, output_padding=1) | F.conv_transpose2d(img, w2t, dilation=2) | F.conv_transpose2d(img, w2g, groups=3)
F.conv_transpose3d | F.conv_transpose3d(vol, w3t) | F.conv_transpose3d(vol, w3t, stride=2) | F.conv_transpose3d(vol, w3t, padding=1) | F.conv_transpose3d(vol, w3t, f5[:2]) | F.conv_transpose3d(vol, w3t, stride=2, output_padding=1) | F.conv_transpose3d(vol[0], w3t)
F.unfold | F.unfold(img, 3) | F.unfold(img, (2, 3), stride=2) | F.unfold(img, 3, padding=1) | F.unfold(img, 2, dilation=2) | F.unfold(img[0], 3) | F.unfold(img, (3, 2), padding=(1, 0), stride=(2, 1))
F.fold | F.fold(F.unfold(img, 3), (8, 9), 3) | F.fold(F.unfold(img, 2, stride=2), (8, 9), 2, stride=2) | F.fold(F.unfold(img, 3, padding=1), (8, 9), 3, padding=1) | F.fold(F.unfold(img, 2, dilation=2), (8, 9), 2, dilation=2) | F.fold(F.unfold(img[0], 3), (8, 9), 3) | F.fold(F.unfold(img, (3, 2)), (8, 9), (3, 2))
"""

TABLES["pooling"] = """
F.max_pool1d | F.max_pool1d(t, 2) | F.max_pool1d(t, 3, stride=1) | F.max_pool1d(t, 2, padding=1) | F.max_pool1d(t, 2, return_indices=True) | F.max_pool1d(t, 3, ceil_mode=True) | F.max_pool1d(t[0], 2) | F.max_pool1d(t, 2, dilation=2)
F.max_pool2d | F.max_pool2d(img, 2) | F.max_pool2d(img, 3, 2) | F.max_pool2d(img, 3, 2, 1) | F.max_pool2d(img, 2, return_indices=True) | F.max_pool2d(img, (2, 3), ceil_mode=True) | F.max_pool2d(img[0], 2) | F.max_pool2d(img, 2, dilation=2)
F.max_pool3d | F.max_pool3d(vol, 2) | F.max_pool3d(vol, 2, 1) | F.max_pool3d(vol, 3, 2, 1) | F.max_pool3d(vol, 2, return_indices=True) | F.max_pool3d(vol[0], 2) | F.max_pool3d(vol, 2, ceil_mode=True)
F.avg_pool1d | F.avg_pool1d(t, 2) | F.avg_pool1d(t, 3, 1) | F.avg_pool1d(t, 2, padding=1) | F.avg_pool1d(t, 2, padding=1, count_include_pad=False) | F.avg_pool1d(t, 3, ceil_mode=True) | F.avg_pool1d(t[0], 2)
F.avg_pool2d | F.avg_pool2d(img, 2) | F.avg_pool2d(img, 3, 2) | F.avg_pool2d(img, 3, 2, 1) | F.avg_pool2d(img, 3, 2, 1, count_include_pad=False) | F.avg_pool2d(img, 2, divisor_override=3) | F.avg_pool2d(img, 3, 2, ceil_mode=True) | F.avg_pool2d(img[0], 2)
F.avg_pool3d | F.avg_pool3d(vol, 2) | F.avg_pool3d(vol, 2, 1) | F.avg_pool3d(vol, 3, 2, 1) | F.avg_pool3d(vol, 3, 2, 1, count_include_pad=False) | F.avg_pool3d(vol[0], 2) | F.avg_pool3d(vol, 2, divisor_override=5)
F.adaptive_avg_pool | F.adaptive_avg_pool1d(t, 2) | F.adaptive_avg_pool2d(img, 1) | F.adaptive_avg_pool2d(img, (3, 4)) | F.adaptive_avg_pool2d(img, (None, 5)) | F.adaptive_avg_pool3d(vol, 2) | F.adaptive_avg_pool2d(img[0], 3) | F.adaptive_avg_pool1d(t, 3)
F.adaptive_max_pool | F.adaptive_max_pool1d(t, 2) | F.adaptive_max_pool2d(img, 1) | F.adaptive_max_pool2d(img, (3, 4)) | F.adaptive_max_pool2d(img, 3, return_indices=True) | F.adaptive_max_pool3d(vol, 2) | F.adaptive_max_pool2d(img[0], (None, 2))
F.lp_pool | F.lp_pool1d(p[None].expand(2, 3, 4), 2, 2) | F.lp_pool2d(img.abs(), 2, 2) | F.lp_pool2d(img.abs(), 3, 3, 2) | F.lp_pool2d(img.abs(), 1, 2, ceil_mode=True) | F.lp_pool2d(img.abs(), 2, (2, 3)) | F.lp_pool3d(vol.abs(), 2, 2)
F.max_unpool | F.max_unpool1d(*F.max_pool1d(t, 2, return_indices=True), 2) | F.max_unpool2d(*F.max_pool2d(img, 2, return_indices=True), 2) | F.max_unpool2d(*F.max_pool2d(img, 2, return_indices=True), 2, output_size=(8, 9)) | F.max_unpool3d(*F.max_pool3d(vol, 2, return_indices=True), 2) | F.max_unpool2d(*F.max_pool2d(img[0], 2, return_indices=True), 2) | F.max_unpool1d(*F.max_pool1d(t, 2, 2, return_indices=True), 2, 2)
"""

TABLES["images"] = """
F.interpolate nearest | F.interpolate(img, scale_factor=2) | F.interpolate(img, (5, 20)) | F.interpolate(t, 7) | F.interpolate(vol, scale_factor=2) | F.interpolate(img, scale_factor=(0.5, 1.5)) | F.interpolate(img, (5, 20), mode='nearest-exact')
F.interpolate linear | F.interpolate(t, 7, mode='linear') | F.interpolate(t, 7, mode='linear', align_corners=True) | F.interpolate(t, scale_factor=2.5, mode='linear') | F.interpolate(t, 2, mode='linear') | F.interpolate(t, 1, mode='linear', align_corners=True) | F.interpolate(t, scale_factor=1.7, mode='linear', recompute_scale_factor=True)
F.interpolate bilinear | F.interpolate(img, (5, 20), mode='bilinear') | F.interpolate(img, (5, 20), mode='bilinear', align_corners=True) | F.interpolate(img, scale_factor=2, mode='bilinear') | F.interpolate(img, scale_factor=0.6, mode='bilinear') | F.interpolate(img, (4, 4), mode='bilinear', antialias=True) | F.interpolate(vol, (3, 5, 7), mode='trilinear')
F.interpolate bicubic | F.interpolate(img, (5, 20), mode='bicubic') | F.interpolate(img, (5, 20), mode='bicubic', align_corners=True) | F.interpolate(img, scale_factor=2, mode='bicubic') | F.interpolate(img, scale_factor=0.6, mode='bicubic') | F.interpolate(img, (8, 9), mode='bicubic') | F.interpolate(img, (1, 1), mode='bicubic')
F.interpolate area | F.interpolate(img, (5, 20), mode='area') | F.interpolate(img, (4, 3), mode='area') | F.interpolate(t, 2, mode='area') | F.interpolate(vol, 2, mode='area') | F.interpolate(img, scale_factor=0.5, mode='area') | F.upsample(img, scale_factor=2)
F.grid_sample | F.grid_sample(img, grid, align_corners=False) | F.grid_sample(img, grid, align_corners=True) | F.grid_sample(img, far, padding_mode='border', align_corners=False) | F.grid_sample(img, far, padding_mode='reflection', align_corners=False) | F.grid_sample(img, grid, mode='nearest', align_corners=False) | F.grid_sample(img, grid, mode='bicubic', align_corners=False)
F.affine_grid | F.affine_grid(theta, (2, 3, 4, 5), align_corners=False) | F.affine_grid(theta, (2, 3, 4, 5), align_corners=True) | F.affine_grid(theta, (2, 1, 1, 1), align_corners=False) | F.affine_grid(theta, (2, 3, 2, 2), align_corners=True) | F.affine_grid(theta3, (2, 1, 2, 3, 4), align_corners=False) | F.affine_grid(theta3, (2, 1, 2, 3, 4), align_corners=True)
F.pixel_shuffle | F.pixel_shuffle(img.repeat(1, 4, 1, 1), 2) | F.pixel_unshuffle(img[..., :8], 2) | torch.pixel_shuffle(img.repeat(1, 3, 1, 1), 3) | torch.channel_shuffle(img.repeat(1, 2, 1, 1), 2) | torch.pixel_unshuffle(img[:, :, :6, :6], 3) | F.pixel_shuffle(img, 2)
"""

TABLES["normalization"] = """
F.batch_norm | F.batch_norm(x, None, None, training=True) | F.batch_norm(img, None, None, v[:3], w[:3], training=True) | F.batch_norm(x, v.detach(), p[0].detach()) | F.batch_norm(img, v[:3].detach(), p[0, :3].detach(), v[:3], w[:3]) | F.batch_norm(t, None, None, training=True, eps=0.1) | F.batch_norm(x, v.detach().clone(), p[0].detach().clone(), training=True, momentum=0.5)
F.layer_norm | F.layer_norm(x, (4,)) | F.layer_norm(x, (4,), v, w) | F.layer_norm(t, (3, 4)) | F.layer_norm(t, (3, 4), x, y) | F.layer_norm(x, [4], eps=0.1) | F.layer_norm(x, (4,), v)
F.rms_norm | F.rms_norm(x, (4,)) | F.rms_norm(x, (4,), v) | F.rms_norm(t, (3, 4)) | F.rms_norm(t, (3, 4), x) | F.rms_norm(x, [4], eps=0.1) | F.rms_norm(img, (9,))
F.group_norm | F.group_norm(img, 3) | F.group_norm(img, 1) | F.group_norm(img, 3, v[:3], w[:3]) | F.group_norm(x, 2) | F.group_norm(x, 2, v, w, eps=0.1) | F.group_norm(t, 3)
F.instance_norm | F.instance_norm(img) | F.instance_norm(t) | F.instance_norm(img, weight=v[:3], bias=w[:3]) | F.instance_norm(vol) | F.instance_norm(img, eps=0.1) | F.instance_norm(img, v[:3].detach(), p[0, :3].detach(), use_input_stats=False)
F.local_response_norm | F.local_response_norm(img, 2) | F.local_response_norm(img, 3, alpha=0.5) | F.local_response_norm(t, 2) | F.local_response_norm(img, 3, beta=0.5, k=2.) | F.local_response_norm(vol, 2) | F.local_response_norm(img, 1)
"""

TABLES["layers"] = """
F.linear | F.linear(x, y) | F.linear(x, y, v[:3]) | F.linear(t, y) | F.linear(v, y, v[:3]) | F.linear(e, y) | F.linear(x, x)
F.bilinear | F.bilinear(x, y, bw) | F.bilinear(x, y, bw, v[:2]) | F.bilinear(t, t, bw) | F.bilinear(v, w, bw) | F.bilinear(x[:, :4], y, bw) | F.bilinear(t, t * 2, bw, v[:2])
F.embedding | F.embedding(i, x) | F.embedding(j, x) | F.embedding(i, x, padding_idx=0) | F.embedding(i[0, 0], x) | F.embedding(i, x.clone(), max_norm=1.0) | F.embedding(i + 9, x) | F.embedding(i, x, scale_grad_by_freq=True)
F.embedding_bag | F.embedding_bag(i, x) | F.embedding_bag(i, x, mode='sum') | F.embedding_bag(i, x, mode='max') | F.embedding_bag(j, x, torch.tensor([0, 2])) | F.embedding_bag(i, x, mode='sum', per_sample_weights=p) | F.embedding_bag(j, x, torch.tensor([0, 2, 5]), include_last_offset=True) | F.embedding_bag(i, x, padding_idx=1)
F.scaled_dot_product_attention | F.scaled_dot_product_attention(qq, kk, vv) | F.scaled_dot_product_attention(qq, kk, vv, is_causal=True) | F.scaled_dot_product_attention(qq, kk, vv, attn_mask=am) | F.scaled_dot_product_attention(qq, kk, vv, attn_mask=am > 0) | F.scaled_dot_product_attention(qq, kk, vv, scale=0.3) | F.scaled_dot_product_attention(t, t, t) | F.scaled_dot_product_attention(qq, kk[:, :1], vv[:, :1], enable_gqa=True) | F.scaled_dot_product_attention(qq.transpose(1, 2), kk.transpose(1, 2), vv.transpose(1, 2))
F.dropout | F.dropout(x, 0.5, training=False) | F.dropout(x, 0.0) | F.dropout(x, 1.0) | F.dropout1d(t, 0.5, False) | F.dropout2d(img, 0.5, False) | F.dropout3d(vol, 0.5, False) | F.alpha_dropout(x, 0.5) | F.feature_alpha_dropout(img, 0.5, False) | F.dropout(x, 1.5)
"""

TABLES["results with indices"] = """
F.max_pool1d_with_indices | F.max_pool1d_with_indices(t, 2) | F.max_pool1d_with_indices(t, 3, 1, 1)
F.max_pool2d_with_indices | F.max_pool2d_with_indices(img, 2) | F.max_pool2d_with_indices(img, (3, 2), 2, 1, ceil_mode=True)
F.max_pool3d_with_indices | F.max_pool3d_with_indices(vol, 2) | F.max_pool3d_with_indices(vol, 2, 1)
F.adaptive_max_pool1d_with_indices | F.adaptive_max_pool1d_with_indices(t, 2) | F.adaptive_max_pool1d_with_indices(t, 3)
F.adaptive_max_pool2d_with_indices | F.adaptive_max_pool2d_with_indices(img, (3, 2)) | F.adaptive_max_pool2d_with_indices(img, 4)
F.adaptive_max_pool3d_with_indices | F.adaptive_max_pool3d_with_indices(vol, 2) | F.adaptive_max_pool3d_with_indices(vol, (1, 2, 3))
F.fractional_max_pool2d_with_indices | F.fractional_max_pool2d_with_indices(img, 2, output_size=(3, 4), _random_samples=fr2) | F.fractional_max_pool2d_with_indices(img, 3, output_ratio=0.5, _random_samples=fr2)
F.fractional_max_pool3d_with_indices | F.fractional_max_pool3d_with_indices(vol, 2, output_size=2, _random_samples=fr3) | F.fractional_max_pool3d_with_indices(vol, 2, output_size=(2, 3, 2), _random_samples=fr3)
"""

TABLES["further products"] = """
F.conv_tbc | F.conv_tbc(t, bw, w) | F.conv_tbc(t, bw, w, 1) | F.conv_tbc(t.transpose(0, 1), bw[:1, :, :3], w[:3], 0)
F.grouped_mm | F.grouped_mm(bw.bfloat16().repeat(1, 2, 2), bw.bfloat16().repeat(1, 2, 2)) | F.grouped_mm(pd.bfloat16().repeat(1, 2, 2), bw.bfloat16().repeat(1, 2, 2).mT.contiguous().mT)
F.linear_cross_entropy | F.linear_cross_entropy(x, y5, jp) | F.linear_cross_entropy(x, y5, jp, linear_bias=f5) | F.linear_cross_entropy(x, y5, jp, reduction='sum', label_smoothing=0.1) | F.linear_cross_entropy(x, y5, jp, reduction='none', ignore_index=1)
F.multi_head_attention_forward | F.multi_head_attention_forward(t, t, t, 4, 2, sq.repeat(3, 1), f12, None, None, False, 0.0, sq, v) | F.multi_head_attention_forward(t, t, t, 4, 1, sq.repeat(3, 1), None, None, None, True, 0.0, sq, None, need_weights=False)
F.upsample_nearest | F.upsample_nearest(img, scale_factor=2) | F.upsample_nearest(t, 6)
F.upsample_bilinear | F.upsample_bilinear(img, scale_factor=2) | F.upsample_bilinear(img, (5, 4))
feature_dropout | torch.feature_dropout(x, 0.0, True) | torch.feature_dropout(img, 0.5, False) | torch.feature_dropout(x, 1.0, True) | torch.feature_dropout(img, 2.0, True)
linalg.orgqr | torch.orgqr(sq, w) | torch.orgqr(sq[:, :2], v[:2])
linalg.lu_factor_ex | torch.linalg.lu_factor_ex(pd) | torch.linalg.lu_factor_ex(sq) | torch.linalg.lu_factor_ex(torch.zeros(2, 2, dtype=torch.float64)) | torch.linalg.lu_factor_ex(x)
"""
