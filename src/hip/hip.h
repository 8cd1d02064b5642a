// The calls of AMD's HIP runtime that this crate makes, declared anew from its documentation.
//
// All of them are in the runtimes of ROCm 5.2 to 7; src/hip/sys.rs is generated from this file by
// bindgen, as a table that is filled from the library when it is loaded.

#ifndef EXPERTILE_HIP_H
#define EXPERTILE_HIP_H

#include <stddef.h>
#include <stdint.h>

// Codes: 0 is success.
typedef int32_t hipError_t;
#define HIP_SUCCESS 0
#define HIP_ERROR_NO_DEVICE 100

// Handles.
typedef struct ihipStream_t *hipStream_t;
typedef struct ihipEvent_t *hipEvent_t;
typedef struct ihipModule_t *hipModule_t;
typedef struct ihipModuleSymbol_t *hipFunction_t;
typedef struct ihipGraph *hipGraph_t;
typedef struct hipGraphExec *hipGraphExec_t;
typedef void *hipDeviceptr_t;

// Flags and modes.
#define HIP_STREAM_NON_BLOCKING 1
#define HIP_EVENT_DEFAULT 0
#define HIP_STREAM_CAPTURE_MODE_THREAD_LOCAL 1

// Numbers of hipDeviceAttribute_t.
#define HIP_DEVICE_ATTRIBUTE_L2_CACHE_SIZE 19
#define HIP_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT 63
#define HIP_DEVICE_ATTRIBUTE_WARP_SIZE 87

// hipDeviceProp_t has 792 bytes before ROCm 6 and 1472 since, where its function has another name.
// Only the text gcnArchName is read, of at most 256 bytes at one of two offsets.
#define HIP_PROPERTIES_ARCHITECTURE 396
#define HIP_PROPERTIES_R0600_ARCHITECTURE 1160
#define HIP_ARCHITECTURE_BYTES 256

// More than any version writes.
typedef struct HipProperties {
    uint64_t words[512];
} HipProperties;

hipError_t hipRuntimeGetVersion(int *version);
const char *hipGetErrorName(hipError_t error);

// Devices; the current one is the thread's own.
hipError_t hipGetDeviceCount(int *count);
hipError_t hipGetDevice(int *device);
hipError_t hipSetDevice(int device);
hipError_t hipDeviceSynchronize(void);
hipError_t hipDeviceGetAttribute(int *value, int attribute, int device);
hipError_t hipDeviceGetName(char *name, int bytes, int device);
hipError_t hipDeviceTotalMem(size_t *bytes, int device);
hipError_t hipGetDeviceProperties(HipProperties *properties, int device);
hipError_t hipGetDevicePropertiesR0600(HipProperties *properties, int device);

// Memory.
hipError_t hipMalloc(void **address, size_t bytes);
hipError_t hipFree(void *address);
hipError_t hipMemcpyHtoDAsync(hipDeviceptr_t to, const void *from, size_t bytes, hipStream_t stream);
hipError_t hipMemcpyDtoHAsync(void *to, hipDeviceptr_t from, size_t bytes, hipStream_t stream);
hipError_t hipMemcpyDtoDAsync(hipDeviceptr_t to, hipDeviceptr_t from, size_t bytes,
                              hipStream_t stream);
hipError_t hipMemsetD8Async(hipDeviceptr_t address, unsigned char value, size_t bytes,
                            hipStream_t stream);

// Streams and events. hipGetStreamDeviceId returns a device's number.
hipError_t hipStreamCreateWithFlags(hipStream_t *stream, unsigned int flags);
hipError_t hipStreamDestroy(hipStream_t stream);
hipError_t hipStreamSynchronize(hipStream_t stream);
hipError_t hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned int flags);
int hipGetStreamDeviceId(hipStream_t stream);
hipError_t hipEventCreateWithFlags(hipEvent_t *event, unsigned int flags);
hipError_t hipEventDestroy(hipEvent_t event);
hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream);
hipError_t hipEventSynchronize(hipEvent_t event);
hipError_t hipEventElapsedTime(float *milliseconds, hipEvent_t start, hipEvent_t end);

// Graphs.
hipError_t hipStreamBeginCapture(hipStream_t stream, int mode);
hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t *graph);
hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t *executable, hipGraph_t graph,
                                        unsigned long long flags);
hipError_t hipGraphLaunch(hipGraphExec_t executable, hipStream_t stream);
hipError_t hipGraphDestroy(hipGraph_t graph);
hipError_t hipGraphExecDestroy(hipGraphExec_t executable);

// Kernels. A module belongs to the device that was current when it was loaded; a grid is counted in
// blocks.
hipError_t hipModuleLoadData(hipModule_t *module, const void *image);
hipError_t hipModuleUnload(hipModule_t module);
hipError_t hipModuleGetFunction(hipFunction_t *function, hipModule_t module, const char *name);
hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned int grid_x, unsigned int grid_y,
                                 unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                 unsigned int block_z, unsigned int shared_bytes,
                                 hipStream_t stream, void **params, void **extra);

#endif
