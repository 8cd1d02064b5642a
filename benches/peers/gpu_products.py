"""Peers of linear, grouped_gemm and moe: cuBLAS, PyTorch's grouped product, transformers, Triton."""

import types

import torch
import torch.nn.functional as F


def new(machine, *shape, dtype=torch.bfloat16, scale=1.0):
    return torch.randn(*shape, dtype=dtype, device=machine.device) * scale


def linear(operator, extents, dtype, machine):
    tokens, inputs, outputs = extents["tokens"], extents["in_features"], extents["out_features"]
    sets = machine.sets((tokens * inputs + inputs * outputs + tokens * outputs) * dtype.itemsize)
    x = new(machine, sets, tokens, inputs, dtype=dtype)
    weight = new(machine, sets, outputs, inputs, dtype=dtype, scale=inputs**-0.5)
    rows = min(tokens, 64)
    exact = lambda: x[0, :rows].double() @ weight[0].double().T
    backends = {"cuBLAS (torch.matmul)": lambda: lambda i: x[i] @ weight[i].T}
    return sets, backends, exact, lambda result: result[:rows]


ROUTINGS = ["balanced", "zipf", "few"]


def routing(extents, machine):
    """(indices, weights) [tokens, top_k]: balanced, by Zipf's law, or all to as many as are chosen."""
    tokens, experts, top_k = extents["tokens"], extents["experts"], extents["top_k"]
    kind = extents.get("routing", "balanced")
    # The kit's cases have numbers alone.
    kind = ROUTINGS[kind] if isinstance(kind, int) else kind
    generator = torch.Generator().manual_seed(1)
    if kind == "balanced":
        first = torch.arange(tokens)[:, None] * top_k
        indices = (first + torch.arange(top_k)) % experts
        indices = indices[torch.randperm(tokens, generator=generator)]
    elif kind == "zipf":
        odds = 1.0 / torch.arange(1, experts + 1)
        indices = torch.multinomial(odds.expand(tokens, -1), top_k, generator=generator)
    elif kind == "few":
        indices = torch.arange(top_k).expand(tokens, -1)
    else:
        raise ValueError(f"routing is {kind}")
    weights = torch.rand(tokens, top_k, generator=generator)
    weights /= weights.sum(1, keepdim=True)
    return indices.contiguous().to(machine.device), weights.to(machine.device)


class Stub(types.SimpleNamespace):
    """A module of which only this much is there; every other flag that is asked for is off."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return False


class Experts:
    """The weights of one layer, in the layout of transformers: gate and up stacked."""

    def __init__(self, extents, dtype, machine):
        hidden, ffn_hidden = extents["hidden"], extents["ffn_hidden"]
        self.count, self.top_k = extents["experts"], extents["top_k"]
        self.up = new(machine, self.count, 2 * ffn_hidden, hidden, dtype=dtype, scale=hidden**-0.5)
        self.down = new(machine, self.count, hidden, ffn_hidden, dtype=dtype, scale=ffn_hidden**-0.5)
        self.indices, self.weights = routing(extents, machine)

    def sorted(self):
        """Pairs by expert, and where each expert's rows end."""
        flat, order = torch.sort(self.indices.reshape(-1), stable=True)
        counts = torch.zeros(self.count, dtype=torch.int64, device=flat.device)
        counts.scatter_add_(0, flat, torch.ones_like(flat))
        return order, torch.cumsum(counts, 0).to(torch.int32)

    def grouped(self, x):
        order, ends = self.sorted()
        rows = x[order // self.top_k]
        gate, up = torch._grouped_mm(rows, self.up.transpose(1, 2), offs=ends).chunk(2, -1)
        out = torch._grouped_mm(F.silu(gate) * up, self.down.transpose(1, 2), offs=ends)
        out = out * self.weights.reshape(-1)[order, None].to(out.dtype)
        return torch.zeros_like(x).index_add_(0, order // self.top_k, out)

    def exact(self, x, tokens):
        """The first tokens, in float64."""
        total = torch.zeros(tokens, x.shape[1], dtype=torch.float64, device=x.device)
        for slot in range(self.top_k):
            for token in range(tokens):
                expert = self.indices[token, slot]
                gate, up = (self.up[expert].double() @ x[token].double()).chunk(2)
                out = self.down[expert].double() @ (F.silu(gate) * up)
                total[token] += self.weights[token, slot].double() * out
        return total


def grouped_gemm(operator, extents, dtype, machine):
    """The up projection: rows that are sorted by expert, both halves, SwiGLU."""
    tokens, hidden, ffn_hidden = extents["tokens"], extents["hidden"], extents["ffn_hidden"]
    experts = Experts(extents, dtype, machine)
    order, ends = experts.sorted()
    rows = new(machine, tokens * experts.top_k, hidden, dtype=dtype)
    bounds = [0] + ends.tolist()
    transposed = experts.up.transpose(1, 2)

    def join(product):
        gate, up = product.chunk(2, -1)
        return F.silu(gate) * up

    def loop(i):
        pieces = [rows[a:b] @ transposed[e] for e, (a, b) in enumerate(zip(bounds, bounds[1:]))]
        return join(torch.cat(pieces))

    def exact():
        owner = torch.searchsorted(ends.long(), torch.arange(16, device=rows.device), right=True)
        some = torch.stack([experts.up[e].double() @ rows[r].double() for r, e in enumerate(owner)])
        gate, up = some[:, :ffn_hidden], some[:, ffn_hidden:]
        return gate / (1 + torch.exp(-gate)) * up

    backends = {
        "torch._grouped_mm + silu": lambda: lambda i: join(torch._grouped_mm(rows, transposed, offs=ends)),
        "torch.mm per expert + silu": lambda: loop,
        "cuBLAS, one dense product of as many rows": lambda: lambda i: rows @ transposed[0],
    }
    check = lambda result: result[:16] if result.shape[1] == ffn_hidden else None
    return 1, backends, exact, check


def moe(operator, extents, dtype, machine):
    tokens, hidden = extents["tokens"], extents["hidden"]
    experts = Experts(extents, dtype, machine)
    sets = 2
    x = new(machine, sets, tokens, hidden, dtype=dtype)
    some = min(tokens, 8)

    def transformers():
        from transformers.integrations.moe import grouped_mm_experts_forward

        apply_gate = lambda both: (lambda gate, up: F.silu(gate) * up)(*both.chunk(2, -1))
        module = Stub(num_experts=experts.count, gate_up_proj=experts.up, down_proj=experts.down,
                      has_gate=True, act_fn=F.silu, _apply_gate=apply_gate)
        weights = experts.weights.to(dtype)
        return lambda i: grouped_mm_experts_forward(module, x[i], experts.indices, weights)

    def triton():
        from gpu_triton import experts as kernel

        return lambda i: kernel(x[i], experts.up, experts.down, experts.indices, experts.weights)

    def liger():
        from liger_kernel.ops.fused_moe import LigerFusedMoEFunction

        weights = experts.weights.to(dtype)
        return lambda i: LigerFusedMoEFunction.apply(
            x[i], experts.up, experts.down, experts.indices, weights
        )

    backends = {
        "torch._grouped_mm": lambda: lambda i: experts.grouped(x[i]),
        "transformers grouped_mm": transformers,
        "triton": triton,
        "liger": liger,
    }
    return sets, backends, lambda: experts.exact(x[0], some), lambda result: result[:some]


OPERATORS = {"linear": linear, "grouped_gemm": grouped_gemm, "moe": moe}

_DBRX = {"hidden": 6144, "ffn_hidden": 10752, "experts": 16, "top_k": 4}


def _case(operator, extents, products, read_bytes):
    return {"operator": operator, "dtype": "bf16", "extents": extents, "flops": 2 * products,
            "bytes": 2 * read_bytes, "bound": "read"}


def _cases():
    hidden, ffn_hidden, experts, top_k = _DBRX.values()
    for tokens in (4096,):
        yield _case("linear", {"tokens": tokens, "in_features": hidden, "out_features": 8192},
                    tokens * hidden * 8192, tokens * (hidden + 8192) + hidden * 8192)
        yield _case("grouped_gemm", {"tokens": tokens, **_DBRX}, tokens * top_k * hidden * 2 * ffn_hidden,
                    experts * 2 * ffn_hidden * hidden + tokens * top_k * (hidden + ffn_hidden))
    for tokens in (1, 8, 64, 512, 4096):
        for routing in ("balanced", "zipf") if tokens == 4096 else ("balanced",):
            active = min(experts, tokens * top_k)
            yield _case("moe", {"tokens": tokens, **_DBRX, "routing": routing},
                        tokens * top_k * 3 * hidden * ffn_hidden,
                        active * 3 * hidden * ffn_hidden + 2 * tokens * hidden)


CASES = list(_cases())
