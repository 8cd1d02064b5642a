"""Peers of layer_norm, rms_norm and rope: PyTorch, its compiler, and Triton kernels of our own."""

import torch
import torch.nn.functional as F

EPSILON = 1e-5
CLIP = 8.0
THETA = 5e5


def norm(operator, extents, dtype, machine):
    """A residual is added, the sum kept and normalized: (sum, out)."""
    tokens, hidden = extents["tokens"], extents["hidden"]
    sets = machine.sets(4 * tokens * hidden * dtype.itemsize)
    new = lambda *shape: torch.randn(*shape, dtype=dtype, device=machine.device)
    x, residual, weight = new(sets, tokens, hidden), new(sets, tokens, hidden), new(hidden)
    centered = operator == "layer_norm"

    def eager(x, residual):
        added = x + residual
        if centered:
            return added, F.layer_norm(added, (hidden,), weight, None, EPSILON)
        return added, F.rms_norm(added, (hidden,), weight, EPSILON)

    def exact():
        added = (x[0].double() + residual[0].double()).to(dtype)
        row = added.double()
        mean = row.mean(-1, keepdim=True) if centered else 0.0
        centre = row - mean
        scale = (centre.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
        return torch.stack([added.double(), centre * scale * weight.double()])

    def triton():
        from gpu_triton import add_norm

        return lambda i: add_norm(x[i], residual[i], weight, EPSILON, centered)

    def compiled():
        compiled = torch.compile(eager, dynamic=False)
        return lambda i: compiled(x[i], residual[i])

    backends = {
        "torch eager": lambda: lambda i: eager(x[i], residual[i]),
        "torch.compile": compiled,
        "triton": triton,
    }
    return sets, backends, exact, lambda result: torch.stack(list(result))


def rotate_half(x):
    """As transformers pairs the halves of a head."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat((-high, low), dim=-1)


def rope(operator, extents, dtype, machine):
    """Clip, split, rotate, append to the cache: (q, keys, values)."""
    tokens, q_heads = extents["tokens"], extents["q_heads"]
    kv_heads, head_dim = extents["kv_heads"], extents["head_dim"]
    heads = q_heads + 2 * kv_heads
    sets = machine.sets(2 * tokens * heads * head_dim * dtype.itemsize)
    device = machine.device
    qkv = torch.randn(sets, tokens, heads, head_dim, dtype=dtype, device=device)
    caches = torch.zeros(sets, 2, tokens, kv_heads, head_dim, dtype=dtype, device=device)
    slots = torch.arange(tokens, device=device)
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    inv_freq = 1.0 / THETA ** (pairs / head_dim)
    angles = torch.arange(tokens, dtype=torch.float32, device=device)[:, None] * inv_freq
    # Engines make these once and index them by position.
    cosine = torch.cat((angles.cos(), angles.cos()), -1).to(dtype)[:, None]
    sine = torch.cat((angles.sin(), angles.sin()), -1).to(dtype)[:, None]

    def eager(qkv, cache):
        qkv = qkv.clamp(-CLIP, CLIP)
        q, k, v = qkv.split((q_heads, kv_heads, kv_heads), dim=1)
        q = q * cosine + rotate_half(q) * sine
        k = k * cosine + rotate_half(k) * sine
        cache[0].index_copy_(0, slots, k)
        cache[1].index_copy_(0, slots, v)
        return q

    def exact():
        values = qkv[0].double().clamp(-CLIP, CLIP)
        q, k, v = values.split((q_heads, kv_heads, kv_heads), dim=1)
        a = angles.double()
        cos, sin = (torch.cat((f(a), f(a)), -1)[:, None] for f in (torch.cos, torch.sin))
        turn = lambda x: x * cos + rotate_half(x) * sin
        return torch.cat((turn(q), turn(k), v), 1)

    def triton():
        from gpu_triton import rope as kernel

        return lambda i: kernel(qkv[i], caches[i], angles, slots, q_heads, CLIP)

    def compiled():
        compiled = torch.compile(eager, dynamic=False)
        return lambda i: compiled(qkv[i], caches[i])

    backends = {
        "torch eager": lambda: lambda i: eager(qkv[i], caches[i]),
        "torch.compile": compiled,
        "triton": triton,
    }
    # The keys and values are those of the first set's cache.
    return sets, backends, exact, lambda q: torch.cat((q, caches[0, 0], caches[0, 1]), 1)


OPERATORS = {"layer_norm": norm, "rms_norm": norm, "rope": rope}
CASES = []
