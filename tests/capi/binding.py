"""The binding's edges, on a simulated device: `binding.py cuda|hip` ends in silence if all is as it should be."""

import gc
import sys

import dlpack
import expertile
import numpy
from driver import DeviceArray, Driver

PLATFORM = sys.argv[1]
TOKENS, HIDDEN, EPSILON = 3, 64, 1e-5


class Legacy:
    """A producer from before DLPack 1.0."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream=None):
        self.stream = stream
        return self.array.__dlpack__(stream=stream)


class Columns(Legacy):
    """Some columns of an array: an offset, and strides that are not those of a dense one."""

    def __init__(self, array, first, columns, **options):
        super().__init__(array)
        self.first, self.columns, self.options = first, columns, options

    def __dlpack__(self, *, stream=None, max_version=None):
        (rows, stride), dtype = self.array.shape, self.array.dtype
        layout = (dtype, [rows, self.columns], [stride, 1])
        offset, device = self.first * dlpack.DTYPES[dtype][1] // 8, (PLATFORM, 0)
        return dlpack.lend(self, self.array.address, device, layout, max_version, offset, **self.options)


def assert_raises(kind, text, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except kind as error:
        assert text in str(error), f"{error}\nexpected: {text}"
    else:
        raise AssertionError(f"no error: {text}")


def values(shape):
    return ((numpy.arange(numpy.prod(shape)) * 37 % 101 - 50) / 8).astype(numpy.float32).reshape(shape)


def rms_norm(sum, weight):
    wide = sum.astype(numpy.float64)
    return wide / numpy.sqrt((wide * wide).mean(axis=-1, keepdims=True) + EPSILON) * weight


def layer_norm(sum, weight):
    wide = sum.astype(numpy.float64)
    wide = wide - wide.mean(axis=-1, keepdims=True)
    return wide / numpy.sqrt((wide * wide).mean(axis=-1, keepdims=True) + EPSILON) * weight


def norms(device, driver, stream):
    x, added, scale = values((TOKENS, HIDDEN)), values((TOKENS, HIDDEN))[::-1], values((HIDDEN,))
    for run, formula in ((device.rms_norm, rms_norm), (device.layer_norm, layer_norm)):
        for mode in ("none", "add", "add to", "update"):
            rows, weight = DeviceArray(driver, x, "f32"), DeviceArray(driver, scale, "f32")
            residual, sums = DeviceArray(driver, added, "f32"), DeviceArray(driver, x * 0, "f32")
            # Rows among others, of a producer from before 1.0 or a later one.
            memory = DeviceArray(driver, numpy.full((TOKENS, HIDDEN + 16), 7), "f32")
            out = Columns(memory, 8, HIDDEN)
            options = {
                "none": {},
                "add": {"residual": Legacy(residual)},
                "add to": {"residual": residual, "sum": sums},
                "update": {"residual": residual, "update": True},
            }[mode]
            run(Legacy(rows), weight, out, epsilon=EPSILON, stream=stream, **options)
            driver.wait(stream)
            sum = x if mode == "none" else x + added
            found = memory.numpy()
            assert numpy.allclose(found[:, 8:-8], formula(sum, scale), rtol=1e-5, atol=1e-5), (mode, run)
            assert (found[:, :8] == 7).all() and (found[:, -8:] == 7).all(), mode
            assert (residual.numpy() == (sum if mode == "update" else added)).all(), mode
            assert (sums.numpy() == (sum if mode == "add to" else 0)).all(), mode


def refusals(device, driver, stream):
    rows = DeviceArray(driver, values((TOKENS, HIDDEN)), "f32")
    out, weight = DeviceArray(driver, values((TOKENS, HIDDEN)), "f32"), DeviceArray(driver, values((HIDDEN,)), "f32")
    short, bits = DeviceArray(driver, values((32,)), "f32"), DeviceArray(driver, values((HIDDEN,)), "bf16")
    kept = out.numpy()
    run = device.rms_norm
    assert_raises(expertile.Error, "rms_norm: weight has shape [32], expected [64]", run, rows, short, out)
    assert_raises(expertile.Error, "rms_norm: weight is bf16, expected f32", run, rows, bits, out)
    assert_raises(expertile.Error, "rms_norm: epsilon is -1", run, rows, weight, out, epsilon=-1)
    # No multiple of 16 bytes.
    assert_raises(expertile.Error, "rms_norm: x is at address", run, Columns(rows, 1, 32), short, Columns(out, 0, 32))
    host = numpy.zeros((TOKENS, HIDDEN), numpy.float32)
    assert_raises(ValueError, "rms_norm: x is on DLPack's device 1, expected", run, host, weight, out)
    assert_raises(TypeError, "rms_norm: x is of <class 'list'>", run, [], weight, out)
    fixed = Columns(out, 0, HIDDEN, read_only=True)
    assert_raises(ValueError, "rms_norm: out is read-only, and is written", run, rows, weight, fixed)
    try:
        run(rows, short, out)
    except expertile.Error as error:
        assert error.status == 4, error.status
    assert_raises(expertile.Error, "device 99 ", expertile.Device, PLATFORM, 99)
    driver.wait(stream)
    assert (out.numpy() == kept).all()
    # What is only read may be read-only.
    run(Columns(rows, 0, HIDDEN, read_only=True), weight, out, stream=stream)
    driver.wait(stream)


def default_stream(device, driver):
    rows, weight = DeviceArray(driver, values((TOKENS, HIDDEN)), "f32"), DeviceArray(driver, values((HIDDEN,)), "f32")
    legacy, out = Legacy(rows), DeviceArray(driver, values((TOKENS, HIDDEN)), "f32")
    device.rms_norm(legacy, weight, out)
    assert legacy.stream == (1 if PLATFORM == "cuda" else 0), legacy.stream
    driver.wait(None)
    assert numpy.allclose(out.numpy(), rms_norm(rows.numpy(), weight.numpy()), rtol=1e-5, atol=1e-5)


def main():
    with expertile.Device(PLATFORM) as device:
        info, driver = device.info(), Driver(PLATFORM)
        assert info.platform == expertile.PLATFORMS[PLATFORM] and info.kernels in (b"sm_90a", b"gfx942"), info.kernels
        assert expertile.device_count(PLATFORM) >= 1
        stream = driver.stream()
        norms(device, driver, stream)
        refusals(device, driver, stream)
        default_stream(device, driver)
        driver.destroy_stream(stream)
    gc.collect()
    # Every capsule gave back what it had.
    assert not dlpack._lent, f"{len(dlpack._lent)} are lent"
    assert_raises(expertile.Error, "", device.info)


main()
