"""Rotates a few tokens on a device, in f32 and bf16, and compares with the formula in NumPy.

    LD_LIBRARY_PATH=/usr/local/lib python3 rope.py cuda|hip
"""

import sys

import expertile
import numpy
from driver import DeviceArray, Driver

TOKENS, Q_HEADS, KV_HEADS, HEAD_DIM = 5, 6, 2, 32
HEADS, HALF = Q_HEADS + 2 * KV_HEADS, HEAD_DIM // 2
PAGES, PAGE_SIZE, CLIP = 2, 4, 8.0
POSITIONS = numpy.array([0, 1, 2, 1000, 131071], numpy.int32)
# -1 is nowhere.
SLOTS = numpy.array([7, 0, -1, 3, 4], numpy.int64)
# Half a unit in the last place of 1, and what f32 loses of numbers up to the clip, square root of two times.
UNITS = {"f32": 2.0**-24, "bf16": 2.0**-8}


def to_bits(array):
    """f32 to bf16, to nearest even; for numbers."""
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def from_bits(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def encode(array, dtype):
    return to_bits(array) if dtype == "bf16" else array


def decode(array, dtype):
    return from_bits(array) if dtype == "bf16" else array


def formula(qkv, inv_freq):
    """The clipped heads, and the rotated ones, in f64."""
    x = numpy.clip(qkv.astype(numpy.float64), -CLIP, CLIP)
    angles = (POSITIONS.astype(numpy.float32)[:, None] * inv_freq).astype(numpy.float64)[:, None, :]
    low, high = x[..., :HALF], x[..., HALF:]
    turned = [low * numpy.cos(angles) - high * numpy.sin(angles), high * numpy.cos(angles) + low * numpy.sin(angles)]
    return x, numpy.concatenate(turned, axis=-1)


def compare(found, expected, dtype):
    error = numpy.abs(found.astype(numpy.float64) - expected)
    bound = UNITS[dtype] * numpy.abs(expected) + 2.0**-20 * CLIP
    # Written so that a NaN is worse than anything.
    if not (error <= bound).all():
        at = numpy.unravel_index(numpy.argmax(~(error <= bound)), error.shape)
        sys.exit(f"found {found[at]} at {at}, expected {expected[at]}")
    return error.max()


def run(device, driver, stream, dtype):
    shape = (TOKENS, HEADS, HEAD_DIM)
    qkv = ((numpy.arange(numpy.prod(shape)) * 37 % 101 - 50) * 0.25).astype(numpy.float32).reshape(shape)
    cache = numpy.full((PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM), -1, numpy.float32)
    inv_freq = (500000.0 ** (-2.0 * numpy.arange(HALF) / HEAD_DIM)).astype(numpy.float32)

    rows = DeviceArray(driver, encode(qkv, dtype), dtype)
    k_cache, v_cache = (DeviceArray(driver, encode(cache, dtype), dtype) for _ in range(2))
    positions, slots = DeviceArray(driver, POSITIONS, "i32"), DeviceArray(driver, SLOTS, "i64")
    frequencies = DeviceArray(driver, inv_freq, "f32")
    device.rope(rows, positions, frequencies, k_cache, v_cache, slots, clip=CLIP, stream=stream)
    driver.wait(stream)

    clipped, rotated = formula(qkv, inv_freq)
    expected = numpy.concatenate([rotated[:, :Q_HEADS], qkv[:, Q_HEADS:]], axis=1)
    k_expected, v_expected = cache.astype(numpy.float64), cache.astype(numpy.float64)
    for token, slot in enumerate(SLOTS):
        if slot >= 0:
            at = slot // PAGE_SIZE, slot % PAGE_SIZE
            k_expected[at] = rotated[token, Q_HEADS : Q_HEADS + KV_HEADS]
            v_expected[at] = clipped[token, Q_HEADS + KV_HEADS :]
    pairs = ((rows, expected), (k_cache, k_expected), (v_cache, v_expected))
    return max(compare(decode(found.numpy(), dtype), expected, dtype) for found, expected in pairs)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in expertile.PLATFORMS:
        print("usage: rope.py cuda|hip", file=sys.stderr)
        return 2
    platform = sys.argv[1]
    try:
        with expertile.Device(platform) as device:
            driver = Driver(platform)
            stream = driver.stream()
            worst = [f"{run(device, driver, stream, dtype):.1e} in {dtype}" for dtype in UNITS]
            driver.destroy_stream(stream)
    except (expertile.Error, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"rope on {platform}: as expected, worst error {', '.join(worst)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
