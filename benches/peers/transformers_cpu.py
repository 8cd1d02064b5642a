"""Speed of Hugging Face transformers' DBRX on the CPU: prefill, greedy decode, generate().

    pip install torch "transformers>=5" safetensors tokenizers
    python benches/peers/transformers_cpu.py [MODEL_DIR] [--threads N] [--dtype bfloat16] [--json]

float32 (the default) is float32 arithmetic on the stored bf16 weights; bfloat16 keeps weights
and activations in bf16. Batch 1. The prompt is token 0 and then the first tokens of
MODEL_DIR/valid.txt, --prompt-tokens in all.

prefill_tokens_per_s   one forward of the whole prompt with a fresh cache; logits of the last token only
decode_tokens_per_s    --decode-tokens calls of forward(), one greedy token each, after that prefill
generate_tokens_per_s  --decode-tokens new tokens by generate(): whole call, its prefill included

Each is measured --repeats times after a warm-up; median and best are given, for every
implementation of attention and experts that transformers offers for the model.
If MODEL_DIR/expected.json is there, its greedy continuations are checked first.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import DbrxConfig, DbrxForCausalLM

METRICS = ("prefill_tokens_per_s", "decode_tokens_per_s", "generate_tokens_per_s")


def cpu_name():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count()


def load_config(model_dir):
    """The published layout keeps theta in attn_config, where transformers 5 does not look: without
    this it would run with its default of 10000."""
    config = DbrxConfig.from_pretrained(model_dir)
    theta = json.loads((model_dir / "config.json").read_text())["attn_config"].get("rope_theta", 10000.0)
    config.rope_parameters = {"rope_type": "default", "rope_theta": float(theta)}
    return config


def load_model(model_dir, dtype, attention, experts):
    options = {"attn_implementation": attention}
    if experts != "eager":
        options["experts_implementation"] = experts
    model = DbrxForCausalLM.from_pretrained(model_dir, config=load_config(model_dir), dtype=dtype, **options)
    model.generation_config.eos_token_id = None  # generate() must not stop early
    return model.eval()


def experts_implementations():
    # A model class without support for it takes the option and ignores it, so ask first.
    offered = getattr(DbrxForCausalLM, "_can_set_experts_implementation", lambda: False)()
    return ["eager", "grouped_mm", "batched_mm"] if offered else ["eager"]


def prompt_ids(model_dir, count, vocab_size):
    try:
        from tokenizers import Tokenizer

        text = (model_dir / "valid.txt").read_text(encoding="utf-8")
        ids = [0] + Tokenizer.from_file(str(model_dir / "tokenizer.json")).encode(text).ids
        if len(ids) >= count:
            return ids[:count], "valid.txt"
    except (ImportError, OSError):
        pass
    return [i % vocab_size for i in range(count)], "0, 1, 2, ..."


def prefill(model, ids):
    return model.forward(input_ids=ids, use_cache=True, logits_to_keep=1)


def decode(model, out, count):
    """Seconds for `count` greedy steps after the prefill `out`, and the tokens they chose."""
    cache = out.past_key_values
    token = out.logits[:, -1].argmax(-1, keepdim=True)
    chosen = []
    start = time.perf_counter()
    for _ in range(count):
        logits = model.forward(input_ids=token, past_key_values=cache, use_cache=True).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
        chosen.append(token)
    return time.perf_counter() - start, torch.cat(chosen, 1)[0].tolist()


def check_greedy(model, model_dir):
    path = model_dir / "expected.json"
    if not path.exists():
        return None
    cases = json.loads(path.read_text(encoding="utf-8"))["greedy"]
    right = 0
    for case in cases:
        out = prefill(model, torch.tensor([case["prompt_ids"]]))
        first = out.logits[0, -1].argmax().item()
        _, rest = decode(model, out, len(case["greedy_ids"]) - 1)
        right += [first] + rest == case["greedy_ids"]
    return f"{right}/{len(cases)}"


def measure(model, ids, decode_tokens, repeats):
    times = {name: [] for name in METRICS}
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        out = prefill(model, ids)
        prefill_s = time.perf_counter() - start
        decode_s, _ = decode(model, out, decode_tokens)
        start = time.perf_counter()
        made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=decode_tokens)
        generate_s = time.perf_counter() - start
        assert made.shape[1] == ids.shape[1] + decode_tokens
        if repeat > 0:  # the first round is the warm-up
            times["prefill_tokens_per_s"].append(ids.shape[1] / prefill_s)
            times["decode_tokens_per_s"].append(decode_tokens / decode_s)
            times["generate_tokens_per_s"].append(decode_tokens / generate_s)
    return {name: {"median": round(statistics.median(v), 1), "best": round(max(v), 1)} for name, v in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_dir = Path(__file__).resolve().parent / "../../reference/models/dbrx-nano"
    parser.add_argument("model_dir", nargs="?", type=Path, default=default_dir)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--attention", nargs="+", default=["eager", "sdpa"], help="implementations to try")
    parser.add_argument("--prompt-tokens", type=int, default=255)
    parser.add_argument("--decode-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if min(args.threads, args.prompt_tokens, args.decode_tokens, args.repeats) < 1:
        parser.error("counts must be at least 1")
    if not (args.model_dir / "config.json").exists():
        parser.error(f"no config.json in {args.model_dir}")

    torch.set_num_threads(args.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    vocab_size = load_config(args.model_dir).vocab_size
    ids, prompt = prompt_ids(args.model_dir, args.prompt_tokens, vocab_size)
    ids = torch.tensor([ids])

    runs, failed = [], []
    for attention in args.attention:
        for experts in experts_implementations():
            name = {"attention": attention, "experts": experts}
            try:
                model = load_model(args.model_dir, getattr(torch, args.dtype), attention, experts)
                with torch.inference_mode():
                    greedy = check_greedy(model, args.model_dir)
                    rates = measure(model, ids, args.decode_tokens, args.repeats)
                runs.append(name | {"greedy_as_expected": greedy} | rates)
            except (ImportError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                failed.append(name | {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
    if not runs:
        sys.exit(f"no implementation ran: {failed}")

    fastest = {}
    for metric in METRICS:
        run = max(runs, key=lambda run: run[metric]["median"])
        fastest[metric] = run[metric] | {"attention": run["attention"], "experts": run["experts"]}
    report = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "dtype": args.dtype,
        "prompt": prompt,
        "prompt_tokens": args.prompt_tokens,
        "decode_tokens": args.decode_tokens,
        "repeats": args.repeats,
        "runs": runs,
        "failed": failed,
        "fastest": fastest,
    }
    if args.json:
        print(json.dumps(report))
        return

    print(f"torch {report['torch']}, transformers {report['transformers']}, {report['cpu']}")
    print(f"{report['threads']} threads, {args.dtype}, prompt of {args.prompt_tokens} tokens ({prompt}),")
    print(f"{args.decode_tokens} decoded, {args.repeats} repeats; tokens/s: median (best)")
    heads = "".join(f"{metric.split('_')[0]:>20}" for metric in METRICS)
    print(f"{'attention':16}{'experts':12}{'greedy':8}{heads}")
    for run in runs:
        cells = "".join(f"{run[metric]['median']} ({run[metric]['best']})".rjust(20) for metric in METRICS)
        print(f"{run['attention']:16}{run['experts']:12}{run['greedy_as_expected'] or '-':8}{cells}")
    for run in failed:
        print(f"{run['attention']:16}{run['experts']:12}{run['error']}")
    for metric in METRICS:
        best = fastest[metric]
        print(f"fastest {metric}: {best['median']} ({best['attention']} attention, {best['experts']} experts)")


if __name__ == "__main__":
    main()
