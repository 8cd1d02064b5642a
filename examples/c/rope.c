// Rotates a few tokens on a device, in memory and on a stream of the program's own, and compares with
// the formula.
//
//   cc rope.c $(pkg-config --cflags --libs expertile) -lm -ldl && ./a.out cuda

#include "driver.h"
#include <expertile.h>
#include <math.h>

enum { TOKENS = 5, Q_HEADS = 6, KV_HEADS = 2, HEAD_DIM = 32, HALF = HEAD_DIM / 2 };
enum { HEADS = Q_HEADS + 2 * KV_HEADS, PAGES = 2, PAGE_SIZE = 4, SLOTS = PAGES * PAGE_SIZE };
static const float CLIP = 8;

static float qkv[TOKENS][HEADS][HEAD_DIM], rows[TOKENS][HEADS][HEAD_DIM];
static float k_cache[SLOTS][KV_HEADS][HEAD_DIM], v_cache[SLOTS][KV_HEADS][HEAD_DIM];
static float k_cached[SLOTS][KV_HEADS][HEAD_DIM], v_cached[SLOTS][KV_HEADS][HEAD_DIM];
static const int32_t positions[TOKENS] = {0, 1, 2, 1000, 131071};
static const int64_t slots[TOKENS] = {7, 0, -1, 3, 4}; // -1 is nowhere
static float inv_freq[HALF];

static void check(int32_t status) {
    if (status != EXPERTILE_OK) {
        fprintf(stderr, "%s: %s\n", expertile_status_text(status), expertile_last_error());
        exit(1);
    }
}

static void *upload(const void *values, size_t bytes) {
    void *address = driver_allocate(bytes);
    driver_write(address, values, bytes);
    return address;
}

static double clipped(float x) {
    return fmax(-CLIP, fmin(CLIP, x));
}

// The element of a rotated head.
static double rotated(int token, int head, int i) {
    int pair = i % HALF;
    float angle = (float)positions[token] * inv_freq[pair];
    double low = clipped(qkv[token][head][pair]), high = clipped(qkv[token][head][pair + HALF]);
    return i < HALF ? low * cos(angle) - high * sin(angle) : high * cos(angle) + low * sin(angle);
}

static double worst;

static void compare(float found, double expected) {
    // Written so that a NaN is worse than anything.
    double error = fabs(found - expected);
    worst = error <= worst ? worst : error;
    if (!(error <= 1e-5)) {
        fprintf(stderr, "found %.9g, expected %.9g\n", found, expected);
        exit(1);
    }
}

int main(int count, char **arguments) {
    int is_cuda = count > 1 && strcmp(arguments[1], "cuda") == 0;
    if (count != 2 || (!is_cuda && strcmp(arguments[1], "hip") != 0)) {
        fprintf(stderr, "usage: rope cuda|hip\n");
        return 2;
    }
    expertile_device *device = NULL;
    check(expertile_device_open(is_cuda ? EXPERTILE_CUDA : EXPERTILE_HIP, 0, &device));
    if (!driver_open(is_cuda)) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void *stream = driver_create_stream();

    for (int i = 0; i < HALF; ++i) {
        inv_freq[i] = (float)pow(500000.0, -2.0 * i / HEAD_DIM);
    }
    for (int i = 0; i < TOKENS * HEADS * HEAD_DIM; ++i) {
        (&qkv[0][0][0])[i] = (float)(i * 37 % 101 - 50) * 0.25f;
    }
    for (int i = 0; i < SLOTS * KV_HEADS * HEAD_DIM; ++i) {
        (&k_cache[0][0][0])[i] = (&v_cache[0][0][0])[i] = -1;
    }

    expertile_rope_args args = {
        .struct_size = sizeof args,
        .pairing = EXPERTILE_PAIRING_HALVES,
        .has_clip = 1,
        .clip = CLIP,
        .qkv = {upload(qkv, sizeof qkv), EXPERTILE_F32, 3, {TOKENS, HEADS, HEAD_DIM}, {0}},
        .positions = {upload(positions, sizeof positions), EXPERTILE_I32, 1, {TOKENS}, {0}},
        .inv_freq = {upload(inv_freq, sizeof inv_freq), EXPERTILE_F32, 1, {HALF}, {0}},
        .k_cache = {upload(k_cache, sizeof k_cache), EXPERTILE_F32, 4,
                    {PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM}, {0}},
        .v_cache = {upload(v_cache, sizeof v_cache), EXPERTILE_F32, 4,
                    {PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM}, {0}},
        .slot_mapping = {upload(slots, sizeof slots), EXPERTILE_I64, 1, {TOKENS}, {0}},
    };
    if (expertile_supports_rope(device, &args) != EXPERTILE_OK) {
        fprintf(stderr, "an engine would fall back: %s\n", expertile_last_error());
        return 1;
    }
    size_t bytes = 0;
    check(expertile_rope_workspace_bytes(device, &args, &bytes));
    void *workspace = bytes > 0 ? driver_allocate(bytes) : NULL;
    check(expertile_rope(device, &args, workspace, bytes, stream));
    driver_wait(stream);

    driver_read(rows, args.qkv.data, sizeof rows);
    driver_read(k_cached, args.k_cache.data, sizeof k_cached);
    driver_read(v_cached, args.v_cache.data, sizeof v_cached);
    for (int token = 0; token < TOKENS; ++token) {
        for (int i = 0; i < HEADS * HEAD_DIM; ++i) {
            int head = i / HEAD_DIM, at = i % HEAD_DIM;
            compare(rows[token][head][at],
                    head < Q_HEADS ? rotated(token, head, at) : qkv[token][head][at]);
        }
    }
    for (int slot = 0; slot < SLOTS; ++slot) {
        int token = 0;
        while (token < TOKENS && slots[token] != slot) {
            ++token;
        }
        for (int i = 0; i < KV_HEADS * HEAD_DIM; ++i) {
            int head = i / HEAD_DIM, at = i % HEAD_DIM;
            int k_head = Q_HEADS + head, v_head = k_head + KV_HEADS;
            compare(k_cached[slot][head][at], token < TOKENS ? rotated(token, k_head, at) : -1);
            compare(v_cached[slot][head][at],
                    token < TOKENS ? clipped(qkv[token][v_head][at]) : -1);
        }
    }

    driver_free(args.qkv.data);
    driver_free(args.positions.data);
    driver_free(args.inv_freq.data);
    driver_free(args.k_cache.data);
    driver_free(args.v_cache.data);
    driver_free(args.slot_mapping.data);
    driver_destroy_stream(stream);
    check(expertile_device_close(device));
    printf("rope on %s: as expected, worst error %.1e\n", arguments[1], worst);
    return 0;
}
