// The few calls of a vendor's driver that these programs make, as an engine has them: memory and a
// stream. Found at run time, so that one program serves both platforms.

#ifndef DRIVER_H
#define DRIVER_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int driver_is_cuda;
static void *driver_library;

// A function of the driver, or the end of the program.
static inline void *driver_find(const char *name) {
    void *found = dlsym(driver_library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static inline void driver_check(int code, const char *call) {
    if (code != 0) {
        fprintf(stderr, "%s returned %d\n", call, code);
        exit(1);
    }
}

// Calls by name; the types follow the arguments, which are ints, pointers and sizes.
#define DRIVER_CALL(name, types, ...)                \
    do {                                             \
        int(*call) types;                            \
        *(void **)(&call) = driver_find(name);       \
        driver_check(call(__VA_ARGS__), name);       \
    } while (0)

// Device 0, current in this thread; in CUDA in its primary context, which expertile uses too. Without
// a driver, false.
static inline int driver_open(int is_cuda) {
    driver_is_cuda = is_cuda;
    const char *hip[] = {"libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"};
    driver_library = is_cuda ? dlopen("libcuda.so.1", RTLD_NOW) : NULL;
    for (size_t i = 0; !is_cuda && driver_library == NULL && i < sizeof hip / sizeof hip[0]; ++i) {
        driver_library = dlopen(hip[i], RTLD_NOW);
    }
    if (driver_library == NULL) {
        return 0;
    }
    if (is_cuda) {
        void *context = NULL;
        DRIVER_CALL("cuInit", (unsigned), 0u);
        DRIVER_CALL("cuDevicePrimaryCtxRetain", (void **, int), &context, 0);
        DRIVER_CALL("cuCtxSetCurrent", (void *), context);
    } else {
        DRIVER_CALL("hipSetDevice", (int), 0);
    }
    return 1;
}

static inline void *driver_allocate(size_t bytes) {
    void *address = NULL;
    DRIVER_CALL(driver_is_cuda ? "cuMemAlloc_v2" : "hipMalloc", (void **, size_t), &address, bytes);
    return address;
}

static inline void driver_free(void *address) {
    DRIVER_CALL(driver_is_cuda ? "cuMemFree_v2" : "hipFree", (void *), address);
}

static inline void driver_write(void *to, const void *from, size_t bytes) {
    DRIVER_CALL(driver_is_cuda ? "cuMemcpyHtoD_v2" : "hipMemcpyHtoD", (void *, const void *, size_t),
                to, from, bytes);
}

static inline void driver_read(void *to, const void *from, size_t bytes) {
    DRIVER_CALL(driver_is_cuda ? "cuMemcpyDtoH_v2" : "hipMemcpyDtoH", (void *, const void *, size_t),
                to, from, bytes);
}

static inline void *driver_create_stream(void) {
    const unsigned non_blocking = 1;
    void *stream = NULL;
    DRIVER_CALL(driver_is_cuda ? "cuStreamCreate" : "hipStreamCreateWithFlags", (void **, unsigned),
                &stream, non_blocking);
    return stream;
}

static inline void driver_wait(void *stream) {
    DRIVER_CALL(driver_is_cuda ? "cuStreamSynchronize" : "hipStreamSynchronize", (void *), stream);
}

static inline void driver_destroy_stream(void *stream) {
    DRIVER_CALL(driver_is_cuda ? "cuStreamDestroy_v2" : "hipStreamDestroy", (void *), stream);
}

#endif
