"""DLPack by ctypes: borrowing arrays of any producer, and being one. dlpack.h of DLPack 1.0 has the structs."""

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint32
from ctypes import c_uint64, c_void_p

DEVICES = {"cuda": 2, "hip": 10}
# (code, bits): signed integers are 0, floats 2, bfloat 4.
DTYPES = {"bf16": (4, 16), "f16": (2, 16), "f32": (2, 32), "i32": (0, 32), "i64": (0, 64)}
READ_ONLY = 1


class DLTensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


class DLManagedTensor(Structure):
    _fields_ = [("dl_tensor", DLTensor), ("manager_ctx", c_void_p), ("deleter", c_void_p)]


class DLManagedTensorVersioned(Structure):
    _fields_ = [
        ("major", c_uint32),
        ("minor", c_uint32),
        ("manager_ctx", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("dl_tensor", DLTensor),
    ]


LEGACY, VERSIONED = b"dltensor", b"dltensor_versioned"
STRUCTS = {LEGACY: DLManagedTensor, VERSIONED: DLManagedTensorVersioned}


def _python(name, restype, *argtypes):
    function = ctypes.pythonapi[name]
    function.restype, function.argtypes = restype, argtypes
    return function


# A capsule that is being destroyed must not become a Python object again: by address.
_pointer = _python("PyCapsule_GetPointer", c_void_p, ctypes.py_object, c_char_p)
_is_valid = _python("PyCapsule_IsValid", c_int, ctypes.py_object, c_char_p)
_dying_pointer = _python("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)
_is_dying_valid = _python("PyCapsule_IsValid", c_int, c_void_p, c_char_p)
_new_capsule = _python("PyCapsule_New", ctypes.py_object, c_void_p, c_char_p, c_void_p)


class View:
    """A borrowed array. Its capsule is not consumed: at its end it calls the producer's deleter itself."""

    def __init__(self, capsule, address, dtype, shape, strides):
        self.capsule, self.address, self.dtype, self.shape, self.strides = capsule, address, dtype, shape, strides


def borrow(array, platform, stream, name, writes):
    """The view of an array for work of a stream, which the producer makes wait for its own."""
    if not hasattr(array, "__dlpack__"):
        raise TypeError(f"{name} is of {type(array)}, expected a DLPack producer")
    device, _ = array.__dlpack_device__()
    if device != DEVICES[platform]:
        raise ValueError(f"{name} is on DLPack's device {int(device)}, expected {DEVICES[platform]} ({platform})")
    # DLPack's number for CUDA's default stream is 1, for ROCm's 0.
    stream = stream or (1 if platform == "cuda" else 0)
    try:
        capsule = array.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:
        # A producer from before 1.0.
        capsule = array.__dlpack__(stream=stream)
    kind = VERSIONED if _is_valid(capsule, VERSIONED) else LEGACY
    managed = ctypes.cast(_pointer(capsule, kind), POINTER(STRUCTS[kind])).contents
    if kind == VERSIONED and managed.major != 1:
        raise ValueError(f"{name} has DLPack {managed.major}.{managed.minor}, expected 1")
    if kind == VERSIONED and writes and managed.flags & READ_ONLY:
        raise ValueError(f"{name} is read-only, and is written")
    tensor = managed.dl_tensor
    dtype = next((dtype for dtype, it in DTYPES.items() if it == (tensor.code, tensor.bits)), None)
    if dtype is None or tensor.lanes != 1:
        found = (tensor.code, tensor.bits, tensor.lanes)
        raise ValueError(f"{name} is of DLPack's type {found}, expected {', '.join(DTYPES)}")
    shape = tensor.shape[: tensor.ndim]
    strides = tensor.strides[: tensor.ndim] if tensor.strides else dense(shape)
    return View(capsule, (tensor.data or 0) + tensor.byte_offset, dtype, shape, strides)


def dense(shape):
    """The strides of an array without gaps, in elements."""
    strides = [1] * len(shape)
    for dimension in reversed(range(len(shape) - 1)):
        strides[dimension] = strides[dimension + 1] * max(shape[dimension + 1], 1)
    return strides


# What a consumer may still read, by the address of its struct.
_lent = {}


@CFUNCTYPE(None, c_void_p)
def _delete(managed):
    _lent.pop(managed, None)


@CFUNCTYPE(None, c_void_p)
def _destroy(capsule):
    # A consumed capsule has another name, and its consumer calls the deleter.
    for kind in STRUCTS:
        if _is_dying_valid(capsule, kind):
            _delete(_dying_pointer(capsule, kind))


def lend(owner, address, device, layout, max_version=None, byte_offset=0, read_only=False):
    """A capsule of memory that `owner` keeps: on (platform, ordinal), of (dtype, shape, strides)."""
    kind = VERSIONED if max_version is not None and max_version[0] >= 1 else LEGACY
    shape, strides = ((c_int64 * len(values))(*values) for values in layout[1:])
    (platform, ordinal), (code, bits) = device, DTYPES[layout[0]]
    managed = STRUCTS[kind](deleter=ctypes.cast(_delete, c_void_p))
    managed.dl_tensor = DLTensor(address, DEVICES[platform], ordinal, len(shape), code, bits, 1, shape, strides, byte_offset)
    if kind == VERSIONED:
        managed.major, managed.flags = 1, READ_ONLY if read_only else 0
    place = ctypes.addressof(managed)
    _lent[place] = (managed, shape, strides, owner)
    return _new_capsule(place, kind, ctypes.cast(_destroy, c_void_p))
