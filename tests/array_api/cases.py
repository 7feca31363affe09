"""Calls of the standard's functions, as text with `xp` for the namespace and operands by name."""

from __future__ import annotations

from typing import Any

import numpy as np

#: operands: data and dtype
OPERANDS: dict[str, tuple[Any, str]] = {
    "f": ([[0.5, -1.5, 2.0], [3.5, 0.0, -0.25]], "float32"),
    "d": ([[2.0, 0.5, -3.0], [1.0, 1.5, 0.75]], "float64"),
    "unit": ([[0.5, -0.25, 1.0], [0.0, -1.0, 0.75]], "float64"),
    "above": ([1.0, 1.5, 7.0], "float64"),
    "odd": ([np.nan, -0.0, np.inf, -np.inf, 2.5, -2.5], "float64"),
    "i": ([[3, -1, 2], [2, 2, -5]], "int64"),
    "i8": ([[100, -1, 127], [2, 120, -5]], "int8"),
    "u8": ([[200, 255, 1], [3, 100, 7]], "uint8"),
    "u16": ([[60000, 5, 1], [3, 9, 7]], "uint16"),
    "u32": ([[1, 4000000000, 1], [3, 9, 7]], "uint32"),
    "u64": ([[1, 2, 1], [3, 9, 7]], "uint64"),
    "shifts": ([[1, 0, 2], [3, 1, 2]], "int64"),
    "b": ([[True, False, True], [False, False, True]], "bool"),
    "c": ([[False, False, True], [True, False, True]], "bool"),
    "v": ([1.0, 2.0, 4.0], "float64"),
    "w": ([3, 1, 2, 3, 1], "int32"),
    "at": ([2, 0, 1], "int64"),
    "back": ([-1, 0], "int64"),
    "zero": (2.0, "float32"),
    "one": (3, "int64"),
    "none": (np.zeros((0, 3)), "float64"),
    "m": ([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]], "float64"),
    "t": (np.arange(12.0).reshape(2, 1, 2, 3), "float64"),
    "r": ([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]], "float64"),
}

_ELEMENTWISE = {
    "abs negative positive square sign": "f odd i i8",
    "acos asin atanh": "unit",
    "acosh": "above",
    "asinh atan cos cosh exp expm1 sin sinh tan tanh": "f d",
    "log log1p log2 log10 sqrt reciprocal": "above v",
    "ceil floor round trunc": "f odd i u8",
    "isfinite isinf isnan": "odd f i",
    "signbit": "odd f",
    "bitwise_invert": "i u8 b",
    "logical_not": "b",
    "conj real": "f",
}
_PAIRS = {
    "add": "f,f f,d i,i8 i8,u8 u8,u16 u16,i8 u32,i u64,u8 v,f d,2 2,i",
    "subtract multiply maximum minimum": "f,f f,d i,i8 i8,u8 u16,i8 u64,u8 d,2 2,i",
    "divide pow": "v,d v,2 2.0,v f,zero",
    "floor_divide remainder": "f,d i,shifts+1 i,2 i8,2",
    "atan2 copysign hypot nextafter logaddexp": "f,f f,d d,1.5",
    "bitwise_and bitwise_or bitwise_xor": "i,i8 b,c u8,3 u16,i8",
    "bitwise_left_shift bitwise_right_shift": "i,shifts i,1",
    "equal not_equal less less_equal greater greater_equal": "f,d i,u8 i,2 odd,odd",
    "logical_and logical_or logical_xor": "b,c b,True",
}
_OTHERS = """
clip(f) clip(f,-1.0,1.0) clip(i,min=0) clip(f,max=f) clip(f,zero) clip(odd,-1.0,1.0) sum(f)
sum(i8) sum(u8) sum(u16,axis=0) sum(f,axis=(0,1),keepdims=True) sum(i8,dtype=xp.float64)
sum(none,axis=0) sum(t,axis=(0,-1)) sum(i8,axis=()) prod(f) prod(i8,axis=1) prod(u8,axis=1)
prod(t,axis=(0,-1),keepdims=True) prod(none) max(f) max(i8,axis=1) max(t,axis=(0,2))
min(f,axis=0,keepdims=True) min(u16) mean(f) mean(d,axis=0) mean(t,axis=(0,3),keepdims=True)
var(f) var(d,axis=1,correction=1) var(t,axis=(0,3),correction=0.5) std(d)
std(d,axis=0,correction=1.0,keepdims=True) all(b) all(b,axis=1) all(i) all(u8,axis=0) any(b)
any(none,axis=0) any(u8,axis=1,keepdims=True) count_nonzero(f) count_nonzero(b,axis=0)
count_nonzero(i,axis=1,keepdims=True) cumulative_sum(v) cumulative_sum(f,axis=1)
cumulative_sum(i8,axis=0) cumulative_sum(u8,axis=-1,include_initial=True)
cumulative_sum(w,dtype=xp.float64) cumulative_prod(v)
cumulative_prod(f,axis=1,include_initial=True) cumulative_prod(w) diff(v) diff(f,axis=0)
diff(i,n=2) diff(v,prepend=v[:1],append=v[:2]) argmax(f) argmax(f,axis=1) argmax(i,keepdims=True)
argmin(f,axis=0,keepdims=True) argmin(u16) nonzero(f) nonzero(b) searchsorted(v,f)
searchsorted(v,v,side='right') searchsorted(v,3.0) searchsorted(w,w,sorter=xp.argsort(w))
searchsorted(v,i) where(b,f,d) where(b,i8,u8) where(b,1.0,f) where(b,i,0) sort(f)
sort(f,axis=0,descending=True) sort(w) sort(u16,descending=True) argsort(w) argsort(f,axis=0)
argsort(w,descending=True) unique_all(w) unique_all(i) unique_counts(w) unique_inverse(i)
unique_values(f) unique_values(b) isin(w,i) isin(w,2) isin(i,w) take(v,at) take(f,at,axis=1)
take(f,back,axis=0) take_along_axis(f,xp.argsort(f),axis=1)
take_along_axis(f,xp.argsort(f,axis=0),axis=0) concat([f,d]) concat([f,f],axis=1)
concat([i8,u8],axis=None) stack([f,d]) stack([i,i8],axis=-1) stack((v,v),axis=1)
expand_dims(f,axis=0) expand_dims(f,axis=-1) expand_dims(f,axis=(0,3)) squeeze(t,axis=1)
squeeze(t,axis=(1,)) permute_dims(t,(3,0,1,2)) flip(f) flip(f,axis=0) flip(t,axis=(0,-1))
moveaxis(t,0,-1) moveaxis(t,(0,1),(2,3)) roll(f,1) roll(f,-1,axis=1) roll(f,(1,2),axis=(0,1))
roll(f,1,axis=(0,1)) reshape(f,(3,2)) reshape(f,(-1,)) reshape(f,(6,),copy=True) repeat(v,2)
repeat(f,2,axis=1) repeat(v,at) tile(v,(2,2)) tile(f,(2,)) unstack(f) unstack(t,axis=-1)
broadcast_to(v,(2,3)) broadcast_arrays(f,v) broadcast_shapes((2,1),(3,)) matrix_transpose(t)
arange(5) arange(1,7,2) arange(5.0) arange(3,0) arange(3,0,-2) arange(1,2,0.25) eye(3)
eye(2,3,k=1) eye(3,k=-2,dtype=xp.int8) full((2,),3) full(2,1.5) full((1,),True) full_like(f,2.0)
zeros_like(i8) ones_like(f,dtype=xp.int16) zeros(3) ones((2,2),dtype=xp.uint32)
linspace(0.0,1.0,5) linspace(0,3,3,endpoint=False) linspace(1,2,1) tril(f) tril(f,k=-1)
triu(t,k=1) meshgrid(v,above) meshgrid(v,v,indexing='ij') asarray(1) asarray([1.5,2.0])
asarray([True]) asarray(v,copy=True) asarray([[1,2]],dtype=xp.float32) astype(f,xp.int16)
astype(i,xp.float64) astype(b,xp.uint8) matmul(m,m) matmul(f,m) matmul(t,m) tensordot(f,m,axes=1)
tensordot(f,f) tensordot(f,f,axes=((0,1),(0,1))) tensordot(f,f,axes=((0,),(0,))) vecdot(f,d)
vecdot(f,v) vecdot(t,t,axis=-2)
"""
_LINALG = """
cholesky(m) cholesky(m,upper=True) cross(f,d) cross(f,v) det(m) diagonal(m) diagonal(t,offset=1)
eigvalsh(m) inv(m) matmul(m,m) matrix_norm(m) matrix_norm(t,keepdims=True) matrix_norm(m,ord=1)
matrix_norm(m,ord=float('inf')) matrix_norm(m,ord=2) matrix_norm(m,ord='nuc') matrix_power(m,3)
matrix_power(m,-1) matrix_power(m,0) matrix_rank(m) matrix_rank(r) matrix_rank(t)
matrix_rank(m,rtol=0.9) matrix_transpose(m) outer(v,v) outer(v,f[0,:]) pinv(m) pinv(r)
pinv(m,rtol=0.5) slogdet(m) solve(m,v) solve(m,m) solve(m,matrix_transpose(f)) svdvals(m)
svdvals(r) tensordot(m,m) trace(m) trace(m,offset=1) trace(t,dtype=xp.float32) vecdot(v,v)
vector_norm(v) vector_norm(f) vector_norm(t,axis=(0,3)) vector_norm(f,axis=1,keepdims=True)
vector_norm(f,ord=1) vector_norm(d,ord=float('inf')) solve(xp.stack([m,m]),m)
solve(xp.stack([m,m,m]),xp.stack([v,v,v])) solve(xp.stack([m,m]),v)
"""


def calls() -> list[str]:
    """Every call as an expression."""
    found = []
    for names, operands in _ELEMENTWISE.items():
        found += [f"xp.{n}({x})" for n in names.split() for x in operands.split()]
    for names, pairs in _PAIRS.items():
        found += [f"xp.{n}({x})" for n in names.split() for x in pairs.split()]
    found += [f"xp.{call}" for call in _OTHERS.split()]
    return found + [
        "xp.linalg."
        + call.replace("(matrix_transpose", "(xp.linalg.matrix_transpose").replace(
            ",matrix_transpose", ",xp.linalg.matrix_transpose"
        )
        for call in _LINALG.split()
    ]
