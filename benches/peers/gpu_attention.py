"""Peers of attention: PyTorch's backends, flex_attention, FlashAttention 3 where it was brought along.

Prefill: `sequences` of `tokens` queries and keys each, causal. Decode: one query for each of
`sequences`, each with `context` keys. Heads in groups as DBRX has them.
"""

import torch
import torch.nn.functional as F


def attention(operator, extents, dtype, machine):
    decode = "context" in extents
    sequences, head_dim = extents["sequences"], extents["head_dim"]
    queries = 1 if decode else extents["tokens"]
    keys = extents["context"] if decode else extents["tokens"]
    q_heads, kv_heads = extents["q_heads"], extents["kv_heads"]
    bytes_of_call = 2 * sequences * head_dim * (queries * q_heads + keys * kv_heads) * dtype.itemsize
    sets = min(8, machine.sets(bytes_of_call))
    new = lambda heads, length: torch.randn(
        sets, sequences, heads, length, head_dim, dtype=dtype, device=machine.device)
    q, k, v = new(q_heads, queries), new(kv_heads, keys), new(kv_heads, keys)
    causal = not decode

    def sdpa(name):
        def make():
            from torch.nn.attention import SDPBackend, sdpa_kernel

            backend = getattr(SDPBackend, name)

            def call(i):
                with sdpa_kernel([backend]):
                    return F.scaled_dot_product_attention(
                        q[i], k[i], v[i], is_causal=causal, enable_gqa=True)

            return call

        return make

    def flex():
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        mask = None
        if causal:
            rule = lambda b, h, query, key: query >= key
            mask = create_block_mask(rule, None, None, queries, keys, device=machine.device.type)
        compiled = flex_attention if machine.simulated else torch.compile(flex_attention, dynamic=False)
        return lambda i: compiled(q[i], k[i], v[i], block_mask=mask, enable_gqa=True)

    def flash3():
        import jax
        from flash_attn3_jax import flash_mha

        import gpu_timing

        given = [[jax.dlpack.from_dlpack(x[i].transpose(1, 2).contiguous()) for x in (q, k, v)]
                 for i in range(sets)]
        jitted = jax.jit(lambda q, k, v: flash_mha(q, k, v, is_causal=causal))
        return gpu_timing.HostTimed(lambda i: jitted(*given[i]), sets)

    def exact():
        """Of the last query of the first sequence, and the first."""
        out = []
        for query in (0, queries - 1):
            seen = keys if decode else query + 1
            group = q_heads // kv_heads
            one = q[0, 0, :, query].double().view(kv_heads, group, head_dim)
            logits = one @ k[0, 0, :, :seen].double().transpose(1, 2) * head_dim**-0.5
            out.append((logits.softmax(-1) @ v[0, 0, :, :seen].double()).view(q_heads, head_dim))
        return torch.stack(out)

    backends = {
        "SDPA flash": sdpa("FLASH_ATTENTION"),
        "SDPA cuDNN": sdpa("CUDNN_ATTENTION"),
        "SDPA efficient": sdpa("EFFICIENT_ATTENTION"),
        "flex_attention": flex,
        "FlashAttention 3": flash3,
    }
    if machine.simulated:
        backends["SDPA math"] = sdpa("MATH")
    return sets, backends, exact, lambda out: torch.stack([out[0, :, 0], out[0, :, -1]])


OPERATORS = {"attention": attention}


def _cases():
    heads = {"q_heads": 48, "kv_heads": 8, "head_dim": 128}
    for sequences, tokens in ((4, 4096), (1, 16384)):
        pairs = sequences * tokens * (tokens + 1) // 2
        yield {"operator": "attention", "dtype": "bf16", "bound": "read",
               "extents": {"sequences": sequences, "tokens": tokens, **heads},
               "flops": 4 * pairs * 48 * 128, "bytes": 2 * sequences * tokens * 128 * 2 * (48 + 8)}
    for sequences, context in ((1, 32768), (8, 32768), (64, 4096)):
        yield {"operator": "attention", "dtype": "bf16", "bound": "read",
               "extents": {"sequences": sequences, "context": context, **heads},
               "flops": 4 * sequences * context * 48 * 128,
               "bytes": 2 * sequences * 128 * 2 * (48 + context * 8)}


CASES = list(_cases())
