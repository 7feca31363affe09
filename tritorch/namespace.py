"""The public names of `tritorch`; importing this also gives `Tensor` its operations."""

# ruff: noqa: E402, F401, I001 - the order of imports is the order in which methods are given to
# Tensor, and names that hide Python's own come last
from math import e, inf, nan, pi

from tritorch import errors
from tritorch.amp.autocast_mode import autocast
from tritorch.amp.state import (
    autocast_decrement_nesting,
    autocast_increment_nesting,
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from tritorch.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from tritorch.config import config
from tritorch.determinism import (
    are_deterministic_algorithms_enabled,
    get_deterministic_debug_mode,
    is_deterministic_algorithms_warn_only_enabled,
    set_deterministic_debug_mode,
    use_deterministic_algorithms,
)
from tritorch.devices import device
from tritorch.dtypes import (
    bfloat16,
    dtype,
    finfo,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tritorch.printing import get_printoptions, printoptions, set_printoptions
from tritorch.runtime import get_num_threads, set_num_threads
from tritorch.runtime.cpu import launcher as _launcher, target as _target
from tritorch.serialization import load, save
from tritorch.tensor import Size, Tensor
from tritorch.ops.batch_norm import batch_norm, group_norm, instance_norm
from tritorch.ops.signal_windows import (
    bartlett_window,
    blackman_window,
    hamming_window,
    hann_window,
    kaiser_window,
)
from tritorch.ops.placement import get_default_device, set_default_device
from tritorch.ops.adaptive_pooling import adaptive_avg_pool1d, adaptive_max_pool1d
from tritorch.ops.pooling import (
    avg_pool1d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool3d,
)
from tritorch.ops.promotion import can_cast, result_type
from tritorch.ops.activation import (
    celu,
    gelu,
    hardshrink,
    prelu,
    relu,
    relu_,
    selu,
    threshold,
)
from tritorch.ops.arithmetic import (
    abs,
    absolute,
    add,
    addcdiv,
    addcmul,
    arctan2,
    atan2,
    clamp,
    clamp_max,
    clamp_min,
    clip,
    copysign,
    div,
    divide,
    floor_divide,
    fmax,
    fmin,
    fmod,
    hypot,
    lerp,
    maximum,
    minimum,
    mul,
    multiply,
    neg,
    negative,
    positive,
    pow,
    reciprocal,
    remainder,
    rsqrt,
    rsub,
    sqrt,
    square,
    sub,
    subtract,
    true_divide,
    xlogy,
)
from tritorch.ops.comparison import (
    allclose,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    equal,
    ge,
    greater,
    greater_equal,
    gt,
    isclose,
    le,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    ne,
    not_equal,
    where,
)
from tritorch.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from tritorch.ops.creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    empty_strided,
    eye,
    from_numpy,
    frombuffer,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    range,
    scalar_tensor,
    zeros,
    zeros_like,
)
from tritorch.ops.distance import cdist, pdist
from tritorch.ops.einsum import einsum
from tritorch.ops.elementary import (
    acos,
    acosh,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctanh,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    deg2rad,
    digamma,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    fix,
    floor,
    frac,
    heaviside,
    isfinite,
    isinf,
    isnan,
    isneginf,
    isposinf,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logit,
    nan_to_num,
    rad2deg,
    round,
    sgn,
    sigmoid,
    sign,
    signbit,
    sin,
    sinc,
    sinh,
    tan,
    tanh,
    trunc,
)
from tritorch.ops.extrema import (
    amax,
    amin,
    aminmax,
    argmax,
    argmin,
    dist,
    logsumexp,
    max,
    min,
    norm,
)
from tritorch.ops.joining import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    broadcast_shapes,
    cartesian_prod,
    cat,
    column_stack,
    concat,
    concatenate,
    diag,
    diag_embed,
    dstack,
    flip,
    fliplr,
    flipud,
    hstack,
    meshgrid,
    repeat_interleave,
    roll,
    row_stack,
    stack,
    tile,
    tril,
    tril_indices,
    triu,
    triu_indices,
    vstack,
)
from tritorch.ops.decomposition import (
    cholesky_inverse,
    cholesky_solve,
    det,
    inverse,
    logdet,
    slogdet,
    triangular_solve,
)
from tritorch.ops.decomposition import _cholesky as cholesky
from tritorch.ops.decomposition import _lu_solve as lu_solve
from tritorch.ops.orthogonal import _qr_method as qr
from tritorch.ops.orthogonal import _svd_method as svd
from tritorch.ops.orthogonal import geqrf, orgqr
from tritorch.ops.matrix import (
    addbmm,
    chain_matmul,
    matrix_exp,
    matrix_power,
    pinverse,
    renorm,
)
from tritorch.ops.matrix import _cross_method as cross
from tritorch.ops.linalg import (
    _int_mm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    dot,
    ger,
    inner,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
    vdot,
)
from tritorch.ops.loss import cosine_similarity
from tritorch.ops import sharing as _sharing
from tritorch.ops import transfer as _transfer
from tritorch.ops.interchange import from_dlpack
from tritorch.ops.memory import clone
from tritorch.ops.noise import (
    alpha_dropout,
    feature_alpha_dropout,
    feature_dropout,
    rrelu,
)
from tritorch.ops.normalization import layer_norm, log_softmax, rms_norm, softmax
from tritorch.ops.random import (
    Generator,
    bernoulli,
    default_generator,
    dropout,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from tritorch.ops.distributions import binomial, poisson
from tritorch.ops.segments import segment_reduce
from tritorch.ops.reduction import (
    all,
    any,
    count_nonzero,
    mean,
    nanmean,
    nansum,
    prod,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from tritorch.ops.number_parts import (
    fill,
    float_power,
    frexp,
    gcd,
    isreal,
    lcm,
    ldexp,
    logaddexp2,
    nextafter,
)
from tritorch.ops.rearrangement import (
    adjoint,
    alias_copy,
    as_strided_copy,
    as_strided_scatter,
    combinations,
    diagflat,
    diagonal_copy,
    diagonal_scatter,
    dsplit,
    expand_copy,
    hsplit,
    kron,
    narrow_copy,
    permute_copy,
    put,
    rot90,
    select_copy,
    select_scatter,
    slice_scatter,
    split_copy,
    squeeze_copy,
    t_copy,
    trace,
    transpose_copy,
    unbind_copy,
    unravel_index,
    unsqueeze_copy,
    vander,
    view_copy,
    vsplit,
)
from tritorch.ops.scan import cummax, cummin, cumprod, cumsum, logcumsumexp
from tritorch.ops.places import argwhere, nonzero
from tritorch.ops.selection import (
    gather,
    index_add,
    index_copy,
    index_fill,
    index_put,
    index_select,
    masked_scatter,
    masked_select,
    scatter,
    scatter_add,
    take,
    take_along_dim,
)
from tritorch.ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from tritorch.ops.scatter_reduction import index_reduce, scatter_reduce
from tritorch.ops.histograms import bincount, histc, histogram
from tritorch.ops.sorting import (
    argsort,
    bucketize,
    isin,
    kthvalue,
    median,
    mode_ as mode,
    msort,
    nanmedian,
    nanquantile,
    quantile,
    searchsorted,
    sort,
    topk,
    unique,
    unique_consecutive,
)
from tritorch.ops.special import i0, mvlgamma, polygamma
from tritorch.ops.statistics import (
    corrcoef,
    cov,
    cumulative_trapezoid,
    diff,
    trapezoid,
    trapz,
)
from tritorch.ops.strided import as_strided
from tritorch.ops.subscript import getitem as _getitem
from tritorch.ops.views import (
    broadcast_tensors,
    broadcast_to,
    chunk,
    diagonal,
    flatten,
    moveaxis,
    movedim,
    narrow,
    permute,
    ravel,
    reshape,
    select,
    split,
    squeeze,
    swapaxes,
    swapdims,
    t,
    tensor_split,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
)
from tritorch.ops.queries import (
    detach,
    is_floating_point,
    is_complex,
    is_nonzero,
    is_same_size,
    is_signed,
    is_storage,
    is_tensor,
    numel,
    typename,
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
)
from tritorch.layout import (
    MemoryFormat as memory_format,
)
from tritorch.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    preserve_format,
)
from tritorch.ops import graph as _graph
from tritorch.ops import grid_sample as _grid_sample
from tritorch.ops import interpolate as _interpolate
from tritorch.ops import power_pooling as _power_pooling
from tritorch.ops import recurrent as _recurrent
from tritorch.ops import unpooling as _unpooling
from tritorch.ops import views_in_place as _views_in_place
from tritorch.ops import return_types
from tritorch.ops import random

strided = "torch.strided"
newaxis = None

# PyTorch's short names; below this line they hide Python's own
half, float, double = float16, float32, float64
short, int, long = int16, int32, int64

_graph.register()

# Last: `bool` hides Python's own, and `tensor` the module of this name.
from tritorch.dtypes import bool
from tritorch.ops.creation import tensor

# Functions and methods refuse what is no tensor by name.
from tritorch.ops import refusal as _refusal

_refusal.refuse(globals())
_refusal.refuse(vars(Tensor))
