"""expertile from Python: the C ABI by ctypes. include/expertile.h documents every call and status.

    with expertile.Device("cuda") as device:
        device.rms_norm(x, weight, out, epsilon=1e-5, stream=stream)

Arrays are any DLPack producers whose memory is on the device, read and written where they lie; they have to live
until the stream is done with them.
"""

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint32
from ctypes import c_uint64, c_void_p

import dlpack

PLATFORMS = {"cuda": 1, "hip": 2}
PAIRINGS = {"halves": 0, "interleaved": 1}
DTYPES = {"bf16": 1, "f16": 2, "f32": 3, "i32": 4, "i64": 5}
MAX_RANK = 6
NAME_BYTES = 64


class Error(Exception):
    """A call that was refused or failed: its status, and the library's text as the message."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("dtype", c_int32),
        ("rank", c_uint32),
        ("shape", c_int64 * MAX_RANK),
        ("strides", c_int64 * MAX_RANK),
    ]


class RopeArgs(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("pairing", c_int32),
        ("has_clip", c_int32),
        ("clip", c_float),
        ("qkv", Tensor),
        ("positions", Tensor),
        ("inv_freq", Tensor),
        ("k_cache", Tensor),
        ("v_cache", Tensor),
        ("slot_mapping", Tensor),
    ]


class NormArgs(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("residual_mode", c_int32),
        ("epsilon", c_float),
        ("reserved", c_uint32),
        ("x", Tensor),
        ("residual", Tensor),
        ("sum", Tensor),
        ("weight", Tensor),
        ("out", Tensor),
    ]


class DeviceInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("platform", c_int32),
        ("ordinal", c_uint32),
        ("multiprocessors", c_uint32),
        ("wave_threads", c_uint32),
        ("driver_version", c_uint32),
        ("memory_bytes", c_uint64),
        ("l2_bytes", c_uint64),
        ("name", c_char * NAME_BYTES),
        ("architecture", c_char * NAME_BYTES),
        ("kernels", c_char * NAME_BYTES),
    ]


def _load():
    library = ctypes.CDLL(os.environ.get("EXPERTILE_LIBRARY", "libexpertile.so.0"))
    library.expertile_last_error.restype = c_char_p
    library.expertile_version.restype = c_char_p
    library.expertile_device_count.argtypes = [c_int32, POINTER(c_uint32)]
    library.expertile_device_open.argtypes = [c_int32, c_uint32, POINTER(c_void_p)]
    library.expertile_device_close.argtypes = [c_void_p]
    library.expertile_device_get_info.argtypes = [c_void_p, POINTER(DeviceInfo)]
    for operator, args in (("rope", RopeArgs), ("layer_norm", NormArgs), ("rms_norm", NormArgs)):
        workspace_bytes = getattr(library, f"expertile_{operator}_workspace_bytes")
        workspace_bytes.argtypes = [c_void_p, POINTER(args), POINTER(c_size_t)]
        run = getattr(library, f"expertile_{operator}")
        run.argtypes = [c_void_p, POINTER(args), c_void_p, c_size_t, c_void_p]
    return library


_library = _load()


def _check(status):
    if status != 0:
        raise Error(status, _library.expertile_last_error().decode())


def version():
    return _library.expertile_version().decode()


def device_count(platform):
    count = c_uint32()
    _check(_library.expertile_device_count(PLATFORMS[platform], byref(count)))
    return count.value


class Device:
    """An open device with its kernels loaded."""

    def __init__(self, platform, ordinal=0):
        self.platform, self.ordinal = platform, ordinal
        self._handle = c_void_p()
        _check(_library.expertile_device_open(PLATFORMS[platform], ordinal, byref(self._handle)))

    def close(self):
        handle, self._handle = self._handle, c_void_p()
        if handle:
            _check(_library.expertile_device_close(handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def info(self):
        info = DeviceInfo(struct_size=ctypes.sizeof(DeviceInfo))
        _check(_library.expertile_device_get_info(self._handle, byref(info)))
        return info

    def rope(self, qkv, positions, inv_freq, k_cache, v_cache, slot_mapping, *, clip=None, pairing="halves", stream=0):
        """Rotates the queries of `qkv` in place and appends keys and values to the caches."""
        args = RopeArgs(
            struct_size=ctypes.sizeof(RopeArgs),
            pairing=PAIRINGS[pairing],
            has_clip=int(clip is not None),
            clip=clip or 0.0,
        )
        read = {"positions": positions, "inv_freq": inv_freq, "slot_mapping": slot_mapping}
        self._run("rope", args, read, {"qkv": qkv, "k_cache": k_cache, "v_cache": v_cache}, stream)

    def layer_norm(self, x, weight, out, **options):
        """Writes the normalised rows of `x` plus the residual, if there is one, to `out`."""
        self._norm("layer_norm", x, weight, out, **options)

    def rms_norm(self, x, weight, out, **options):
        self._norm("rms_norm", x, weight, out, **options)

    def _norm(self, operator, x, weight, out, *, residual=None, sum=None, update=False, epsilon=1e-5, stream=0):
        # The sum is not kept, written to `sum`, or with `update` to the residual itself.
        if residual is None:
            mode = 0
        else:
            mode = 3 if update else 1 if sum is None else 2
        args = NormArgs(struct_size=ctypes.sizeof(NormArgs), residual_mode=mode, epsilon=epsilon)
        read, written = {"x": x, "weight": weight}, {"out": out}
        if residual is not None:
            (written if update else read)["residual"] = residual
        if sum is not None:
            written["sum"] = sum
        self._run(operator, args, read, written, stream)

    def _run(self, operator, args, read, written, stream):
        # Capsules, which hold the memory until the launch is submitted.
        borrowed = []
        for arguments, writes in ((read, False), (written, True)):
            for name, array in arguments.items():
                view = dlpack.borrow(array, self.platform, stream, f"{operator}: {name}", writes)
                borrowed.append(view)
                setattr(args, name, _tensor(view, f"{operator}: {name}"))
        # The query makes all checks of the call; no operator of this version needs a workspace.
        workspace_bytes, run = (getattr(_library, f"expertile_{operator}{end}") for end in ("_workspace_bytes", ""))
        needed = c_size_t()
        _check(workspace_bytes(self._handle, byref(args), byref(needed)))
        _check(run(self._handle, byref(args), None, needed.value, stream or None))


def _tensor(view, name):
    if len(view.shape) > MAX_RANK:
        raise ValueError(f"{name} has {len(view.shape)} dimensions, expected at most {MAX_RANK}")
    tensor = Tensor(data=view.address, dtype=DTYPES[view.dtype], rank=len(view.shape))
    tensor.shape[: len(view.shape)] = view.shape
    tensor.strides[: len(view.strides)] = view.strides
    return tensor
