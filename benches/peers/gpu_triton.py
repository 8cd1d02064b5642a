"""Triton kernels of our own, as an engine would write them: norms, rope, fused mixture of experts."""

import os

import torch
import triton
import triton.language as tl


@triton.jit
def _add_norm(x, residual, weight, added, out, hidden, epsilon, CENTERED: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * hidden
    columns = tl.arange(0, BLOCK)
    mask = columns < hidden
    total = tl.load(x + row + columns, mask, 0.0).to(tl.float32)
    total += tl.load(residual + row + columns, mask, 0.0).to(tl.float32)
    rounded = total.to(added.dtype.element_ty)
    tl.store(added + row + columns, rounded, mask)
    total = rounded.to(tl.float32)
    if CENTERED:
        total = tl.where(mask, total - tl.sum(total, 0) / hidden, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(total * total, 0) / hidden + epsilon)
    factor = tl.load(weight + columns, mask, 0.0).to(tl.float32)
    tl.store(out + row + columns, (total * scale * factor).to(out.dtype.element_ty), mask)


def add_norm(x, residual, weight, epsilon, centered):
    tokens, hidden = x.shape
    added, out = torch.empty_like(x), torch.empty_like(x)
    block = triton.next_power_of_2(hidden)
    warps = 4 if block <= 2048 else 8 if block <= 4096 else 16
    _add_norm[(tokens,)](x, residual, weight, added, out, hidden, epsilon, centered, block, num_warps=warps)
    return added, out


@triton.jit
def _rope(qkv, q_out, cache, angles, slots, tokens, clip, Q: tl.constexpr, KV: tl.constexpr, HALF: tl.constexpr, HEADS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    pair = tl.arange(0, HALF)[None, :]
    there = (head < Q + 2 * KV) & (pair < HALF)
    place = (token * (Q + 2 * KV) + head) * (2 * HALF) + pair
    low = tl.load(qkv + place, there, 0.0).to(tl.float32)
    high = tl.load(qkv + place + HALF, there, 0.0).to(tl.float32)
    low = tl.minimum(tl.maximum(low, -clip), clip)
    high = tl.minimum(tl.maximum(high, -clip), clip)
    angle = tl.load(angles + token * HALF + pair)
    cosine, sine = tl.cos(angle), tl.sin(angle)
    turned = head < Q + KV
    first = tl.where(turned, low * cosine - high * sine, low).to(qkv.dtype.element_ty)
    second = tl.where(turned, high * cosine + low * sine, high).to(qkv.dtype.element_ty)
    in_q = there & (head < Q)
    q_place = (token * Q + head) * (2 * HALF) + pair
    tl.store(q_out + q_place, first, in_q)
    tl.store(q_out + q_place + HALF, second, in_q)
    slot = tl.load(slots + token)
    value = head >= Q + KV
    own = head - Q - tl.where(value, KV, 0)
    start = tl.where(value, tokens * KV * 2 * HALF, 0).to(tl.int64)
    c_place = start + (slot * KV + own) * (2 * HALF) + pair
    in_cache = there & (head >= Q)
    tl.store(cache + c_place, first, in_cache)
    tl.store(cache + c_place + HALF, second, in_cache)


def rope(qkv, cache, angles, slots, q_heads, clip):
    tokens, heads, head_dim = qkv.shape
    q = torch.empty((tokens, q_heads, head_dim), dtype=qkv.dtype, device=qkv.device)
    grid = (tokens, triton.cdiv(heads, 8))
    kv_heads = (heads - q_heads) // 2
    _rope[grid](qkv, q, cache, angles, slots, tokens, clip, q_heads, kv_heads, head_dim // 2, 8)
    return q


# Triton's interpreter multiplies the bits of bf16 as integers.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@triton.jit
def _experts(a, b, out, ids, experts_of, weights, rows, columns, depth: tl.constexpr, top_k, UP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, WIDEN: tl.constexpr):
    """Rows of a block belong to one expert. UP: gathers tokens, multiplies by both halves of b and
    joins them by SwiGLU. Else: multiplies by b and by the routing weight."""
    block, tile = tl.program_id(1), tl.program_id(0)
    expert = tl.load(experts_of + block).to(tl.int64)
    if expert >= 0:
        pair = tl.load(ids + block * BM + tl.arange(0, BM)).to(tl.int64)
        there = (pair < rows)[:, None]
        n, k = tile * BN + tl.arange(0, BN), tl.arange(0, BK)
        source = pair // top_k if UP else pair
        a_at = a + source[:, None] * depth + k[None, :]
        width = 2 * columns if UP else columns
        b_at = b + expert * width * depth + n[None, :].to(tl.int64) * depth + k[:, None]
        first = tl.zeros((BM, BN), tl.float32)
        second = tl.zeros((BM, BN), tl.float32)
        in_n = (n < columns)[None, :]
        for start in range(0, depth, BK):
            in_k = k < depth - start
            rows_of_a = tl.load(a_at + start, there & in_k[None, :], 0.0)
            one = tl.load(b_at + start, in_n & in_k[:, None], 0.0)
            if WIDEN:
                rows_of_a, one = rows_of_a.to(tl.float32), one.to(tl.float32)
            first += tl.dot(rows_of_a, one)
            if UP:
                other = tl.load(b_at + start + columns.to(tl.int64) * depth, in_n & in_k[:, None], 0.0)
                if WIDEN:
                    other = other.to(tl.float32)
                second += tl.dot(rows_of_a, other)
        if UP:
            first = first * tl.sigmoid(first) * second
        else:
            first *= tl.load(weights + pair, pair < rows, 0.0)[:, None]
        at = out + pair[:, None] * columns + n[None, :]
        tl.store(at, first.to(out.dtype.element_ty), there & in_n)


# Rows, columns and depth of a tile, warps and stages by tokens, in the manner of published tunings
# for DBRX's experts on H100.
TILES = [
    (4, (16, 64, 256, 4, 4)),
    (16, (16, 128, 128, 4, 4)),
    (64, (16, 64, 128, 4, 4)),
    (128, (32, 32, 128, 4, 4)),
    (512, (64, 128, 64, 4, 4)),
    (1 << 62, (128, 128, 64, 8, 4)),
]


def sort_pairs(indices, experts, block):
    """Token-slot pairs by expert, each expert's padded to whole blocks, all on the device:
    (pair of each row, expert of each block; -1 beyond the last)."""
    pairs = indices.numel()
    flat = indices.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.zeros(experts, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(0, flat, torch.ones_like(flat))
    blocks = (counts + block - 1) // block
    ends = torch.cumsum(blocks, 0)
    most = triton.cdiv(pairs, block) + min(experts, pairs)
    ids = torch.full((most * block,), pairs, dtype=torch.int64, device=flat.device)
    sorted_experts = flat[order]
    rank = torch.arange(pairs, device=flat.device) - (torch.cumsum(counts, 0) - counts)[sorted_experts]
    ids[(ends - blocks)[sorted_experts] * block + rank] = order
    number = torch.arange(most, device=flat.device)
    owner = torch.searchsorted(ends, number, right=True)
    return ids, torch.where(number < ends[-1], owner, -1)


def experts(x, w_up, w_down, indices, weights):
    """x [tokens, hidden]; w_up [experts, 2 * ffn_hidden, hidden]; w_down [experts, hidden, ffn_hidden];
    indices and weights [tokens, top_k]."""
    (tokens, hidden), (count, _, ffn_hidden) = x.shape, w_down.shape
    top_k = indices.shape[1]
    tile = next(tile for most, tile in TILES if tokens <= most)
    bm, bn, bk, warps, stages = tile
    bk = min(bk, triton.next_power_of_2(hidden), triton.next_power_of_2(ffn_hidden))
    ids, owner = sort_pairs(indices, count, bm)
    rows = indices.numel()
    flat = weights.reshape(-1).float()
    between = torch.empty((rows, ffn_hidden), dtype=x.dtype, device=x.device)
    result = torch.empty((rows, hidden), dtype=x.dtype, device=x.device)
    options = {"WIDEN": INTERPRETED, "num_warps": warps, "num_stages": stages}
    grid = (triton.cdiv(ffn_hidden, bn), owner.numel())
    _experts[grid](x, w_up, between, ids, owner, flat, rows, ffn_hidden, hidden, top_k, True, bm, bn, bk, **options)
    grid = (triton.cdiv(hidden, bn), owner.numel())
    _experts[grid](between, w_down, result, ids, owner, flat, rows, hidden, ffn_hidden, top_k, False, bm, bn, bk, **options)
    return result.view(tokens, top_k, hidden).sum(1)
