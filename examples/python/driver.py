"""The few calls of a vendor's driver that the example makes, as an engine has them: memory and a stream."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p

import dlpack
import numpy

NUMPY = {"bf16": numpy.uint16, "f16": numpy.float16, "f32": numpy.float32, "i32": numpy.int32, "i64": numpy.int64}


class Driver:
    """Device 0, current in this thread; on CUDA in its primary context, which expertile uses too."""

    def __init__(self, platform):
        self.platform = platform
        if platform == "cuda":
            self.library = ctypes.CDLL("libcuda.so.1")
            context = c_void_p()
            self.call("cuInit", c_uint(0))
            self.call("cuDevicePrimaryCtxRetain", byref(context), c_int(0))
            self.call("cuCtxSetCurrent", context)
        else:
            self.library = _first(["libamdhip64.so", *(f"libamdhip64.so.{release}" for release in (7, 6, 5))])
            self.call("hipSetDevice", c_int(0))

    def call(self, name, *arguments):
        status = self.library[name](*arguments)
        if status != 0:
            raise RuntimeError(f"{name} returned {status}")

    def one(self, cuda, hip, *arguments):
        self.call(cuda if self.platform == "cuda" else hip, *arguments)

    def allocate(self, nbytes):
        address = c_void_p()
        self.one("cuMemAlloc_v2", "hipMalloc", byref(address), c_size_t(nbytes))
        return address.value

    def free(self, address):
        self.one("cuMemFree_v2", "hipFree", c_void_p(address))

    def write(self, address, array):
        to, source, nbytes = c_void_p(address), c_void_p(array.ctypes.data), c_size_t(array.nbytes)
        self.one("cuMemcpyHtoD_v2", "hipMemcpyHtoD", to, source, nbytes)

    def read(self, array, address):
        to, source, nbytes = c_void_p(array.ctypes.data), c_void_p(address), c_size_t(array.nbytes)
        self.one("cuMemcpyDtoH_v2", "hipMemcpyDtoH", to, source, nbytes)

    def stream(self):
        stream, non_blocking = c_void_p(), c_uint(1)
        self.one("cuStreamCreate", "hipStreamCreateWithFlags", byref(stream), non_blocking)
        return stream.value

    def wait(self, stream):
        self.one("cuStreamSynchronize", "hipStreamSynchronize", c_void_p(stream))

    def destroy_stream(self, stream):
        self.one("cuStreamDestroy_v2", "hipStreamDestroy", c_void_p(stream))


def _first(names):
    for name in names[:-1]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass
    return ctypes.CDLL(names[-1])


class DeviceArray:
    """A dense array in device memory, which is freed at its end: a DLPack producer."""

    def __init__(self, driver, array, dtype):
        array = numpy.ascontiguousarray(array, dtype=NUMPY[dtype])
        self.driver, self.dtype, self.shape = driver, dtype, list(array.shape)
        # Drivers refuse a size of 0.
        self.address = driver.allocate(max(array.nbytes, 1))
        driver.write(self.address, array)

    def numpy(self):
        """A copy on the host, when the work of its stream is done; bf16 as its bits."""
        array = numpy.empty(self.shape, NUMPY[self.dtype])
        self.driver.read(array, self.address)
        return array

    def __dlpack_device__(self):
        return dlpack.DEVICES[self.driver.platform], 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        # The copies that wrote it were done when they returned: there is no work to wait for.
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("lent where it lies, or not at all")
        device = (self.driver.platform, 0)
        layout = (self.dtype, self.shape, dlpack.dense(self.shape))
        return dlpack.lend(self, self.address, device, layout, max_version)

    def __del__(self):
        if getattr(self, "address", None):
            self.driver.free(self.address)
