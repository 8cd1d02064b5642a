"""Speed of other kernels on the device of this machine, for comparison with expertile's.

    gpu.py --serve      answers requests, one JSON object a line (benches/device/serve.rs says which)
    gpu.py --list       backends and versions
    gpu.py --self-test  runs every backend at tiny extents and checks its results

`--device cpu` stands in where there is no device: kernels of Triton run in its interpreter, and no
time means anything. What cannot be imported or run is answered as an error of that backend alone.
"""

import argparse
import gc
import importlib
import json
import os
import sys
import traceback

MODULES = ["gpu_elementwise", "gpu_products", "gpu_attention"]
PACKAGES = ["torch", "triton", "transformers", "jax", "flash_attn3_jax", "liger_kernel"]

# Extents at which anything runs anywhere.
TINY = [
    ("layer_norm", {"tokens": 3, "hidden": 72}),
    ("rms_norm", {"tokens": 3, "hidden": 72}),
    ("rope", {"tokens": 5, "q_heads": 6, "kv_heads": 1, "head_dim": 16}),
    ("linear", {"tokens": 5, "in_features": 64, "out_features": 96}),
    ("grouped_gemm", {"tokens": 24, "hidden": 64, "ffn_hidden": 96, "experts": 4, "top_k": 2}),
    ("moe", {"tokens": 9, "hidden": 64, "ffn_hidden": 96, "experts": 4, "top_k": 2}),
    ("moe", {"tokens": 40, "hidden": 64, "ffn_hidden": 96, "experts": 4, "top_k": 2, "routing": "zipf"}),
    ("moe", {"tokens": 3, "hidden": 64, "ffn_hidden": 96, "experts": 4, "top_k": 2, "routing": "few"}),
    ("attention", {"sequences": 2, "tokens": 48, "q_heads": 6, "kv_heads": 1, "head_dim": 16}),
    ("attention", {"sequences": 3, "context": 40, "q_heads": 6, "kv_heads": 1, "head_dim": 16}),
]

# bf16 rounds by 2^-9 at each of a few steps.
TOLERANCE = 0.03


def one_line(error):
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]


class Peers:
    def __init__(self, device):
        import torch

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            # Before Triton is imported for the first time.
            os.environ["TRITON_INTERPRET"] = "1"
        from gpu_timing import Machine

        torch.manual_seed(0)
        self.torch, self.machine = torch, Machine(device)
        self.operators, self.cases = {}, []
        for name in MODULES:
            module = importlib.import_module(name)
            self.operators.update(module.OPERATORS)
            self.cases.extend(module.CASES)
        # The last case stays warm between rounds.
        self.key, self.backends = None, []

    def describe(self):
        versions = {}
        for package in PACKAGES:
            try:
                versions[package] = importlib.metadata.version(package.replace("_", "-"))
            except importlib.metadata.PackageNotFoundError:
                pass
        cases = [] if self.machine.simulated else [
            {**case, "shape": ", ".join(f"{k} {v}" for k, v in case["extents"].items()) + ", bf16"}
            for case in self.cases
        ]
        return {"device": self.machine.describe(), "versions": versions, "cases": cases}

    def ceilings(self, samples):
        torch, machine = self.torch, self.machine
        size = 64 if machine.simulated else 8192
        a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=machine.device) for _ in range(2))
        out = torch.empty_like(a)
        product = lambda: torch.matmul(a, b, out=out)
        words = 1 << (12 if machine.simulated else 28)
        source = torch.ones(words, dtype=torch.float32, device=machine.device)
        target = torch.empty_like(source)
        copy = lambda: target.copy_(source)
        timed = {}
        for name, work in (("matmul", product), ("copy", copy)):
            for _ in range(3):
                work()
            machine.synchronize()
            timed[name] = [machine.elapsed_ms(work) for _ in range(samples)]
        return {"ceilings": [
            {"name": f"matmul bf16 {size}", "unit": "FLOP/s", "amount": 2 * size**3, "ms": timed["matmul"]},
            {"name": "copy", "unit": "B/s", "amount": 8 * words, "ms": timed["copy"]},
        ]}

    def prepare(self, operator, dtype, extents):
        """(name, timed or error, worst error) of every backend."""
        from gpu_timing import Timed, relative_error

        self.backends = []
        gc.collect()
        if not self.machine.simulated:
            self.torch.cuda.empty_cache()
        dtype = {"bf16": self.torch.bfloat16, "f16": self.torch.float16, "f32": self.torch.float32}[dtype]
        sets, backends, exact, view = self.operators[operator](operator, extents, dtype, self.machine)
        want = exact()
        for name, make in backends.items():
            try:
                call = make()
                error = None
                if callable(call):
                    seen = view(call(0))
                    error = None if seen is None else relative_error(seen, want)
                    call = Timed(self.machine, call, sets)
                self.backends.append((name, call, error))
            except Exception as failure:
                print(f"{operator}: {name}: {traceback.format_exc()}", file=sys.stderr)
                self.backends.append((name, one_line(failure), None))

    def run(self, request):
        operator, dtype = request["operator"], request["dtype"]
        extents, samples = request["extents"], request["samples"]
        if operator not in self.operators:
            return {"results": []}
        key = json.dumps([operator, dtype, extents], sort_keys=True)
        if key != self.key:
            self.key = key
            self.prepare(operator, dtype, extents)
        results = []
        for name, timed, error in self.backends:
            if isinstance(timed, str):
                results.append({"backend": name, "error": timed})
                continue
            result = {"backend": name, "method": timed.method, "ms": [timed.sample() for _ in range(samples)]}
            if error is not None:
                result["worst_error"] = error if error < float("inf") else 1e300
            results.append(result)
        return {"results": results}

    def answer(self, line):
        try:
            request = json.loads(line)
            what = request.get("do") if isinstance(request, dict) else None
            if what == "list":
                return self.describe()
            if what == "ceilings":
                return self.ceilings(request["samples"])
            if what == "run":
                return self.run(request)
            return {"error": f"not understood: {line.strip()[:100]}"}
        except Exception as failure:
            print(traceback.format_exc(), file=sys.stderr)
            return {"error": one_line(failure)}

    def self_test(self):
        wrong = []
        for operator, extents in TINY:
            self.key = None
            result = self.run({"operator": operator, "dtype": "bf16", "extents": extents, "samples": 1})
            for backend in result["results"]:
                name = f"{operator} {extents}: {backend['backend']}"
                error = backend.get("worst_error")
                if "error" in backend:
                    print(f"not run  {name}: {backend['error']}")
                elif error is not None and error > TOLERANCE:
                    wrong.append(name)
                    print(f"WRONG    {name}: relative error {error:.2g}")
                else:
                    print(f"ok       {name}" + ("" if error is None else f": relative error {error:.2g}"))
        return wrong


def serve(device):
    # What libraries print must not mix with answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peers = reason = None
    try:
        peers = Peers(device)
    except Exception as failure:
        print(traceback.format_exc(), file=sys.stderr)
        reason = one_line(failure)
    for line in sys.stdin:
        answer = peers.answer(line) if peers else {"error": reason}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda or cpu; default: what there is")
    what = parser.add_mutually_exclusive_group(required=True)
    for option in ("--serve", "--list", "--self-test"):
        what.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.device)
    peers = Peers(arguments.device)
    if arguments.list:
        print(json.dumps(peers.describe(), indent=1))
        for operator, _ in TINY:
            print(operator)
        return 0
    return 1 if peers.self_test() else 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import importlib.metadata

    sys.exit(main())
