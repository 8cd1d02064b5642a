// rope.c for C++: what the device holds is freed by scope, and failures are exceptions. Pairs are
// neighbours here, and heads of queries alone.
//
//   c++ -std=c++17 rope.cpp $(pkg-config --cflags --libs expertile) -ldl && ./a.out hip

#include "driver.h"
#include <cmath>
#include <expertile.h>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

static void check(int32_t status) {
    if (status != EXPERTILE_OK) {
        throw std::runtime_error(std::string(expertile_status_text(status)) + ": " +
                                 expertile_last_error());
    }
}

struct CloseDevice {
    void operator()(expertile_device *device) const { expertile_device_close(device); }
};
struct DestroyStream {
    void operator()(void *stream) const { driver_destroy_stream(stream); }
};
struct FreeMemory {
    void operator()(void *address) const { driver_free(address); }
};

// Values on the device, and the tensor that an operator is given.
template <typename T> struct Array {
    std::unique_ptr<void, FreeMemory> memory;
    expertile_tensor tensor{};

    Array(const std::vector<T> &values, int32_t dtype, std::initializer_list<int64_t> shape)
        : memory(driver_allocate(values.size() * sizeof(T) + 1)) {
        driver_write(memory.get(), values.data(), values.size() * sizeof(T));
        tensor.data = memory.get();
        tensor.dtype = dtype;
        for (int64_t extent : shape) {
            tensor.shape[tensor.rank++] = extent;
        }
    }
};

static void run(bool is_cuda) {
    const int64_t tokens = 3, heads = 4, head_dim = 16;

    expertile_device *opened = nullptr;
    check(expertile_device_open(is_cuda ? EXPERTILE_CUDA : EXPERTILE_HIP, 0, &opened));
    std::unique_ptr<expertile_device, CloseDevice> device(opened);
    if (!driver_open(is_cuda)) {
        throw std::runtime_error(dlerror());
    }
    std::unique_ptr<void, DestroyStream> stream(driver_create_stream());

    std::vector<float> q, inv_freq;
    for (int i = 0; i < tokens * heads * head_dim; ++i) {
        q.push_back(float(i * 31 % 97 - 48) * 0.125f);
    }
    for (int i = 0; i < head_dim / 2; ++i) {
        inv_freq.push_back(float(std::pow(10000.0, -2.0 * i / head_dim)));
    }
    const std::vector<int32_t> positions{5, 77, 40000};
    const std::vector<int64_t> slots{-1, -1, -1};
    const std::vector<float> nothing;

    Array<float> on_device(q, EXPERTILE_F32, {tokens, heads, head_dim});
    Array<int32_t> at(positions, EXPERTILE_I32, {tokens});
    Array<float> frequencies(inv_freq, EXPERTILE_F32, {head_dim / 2});
    Array<float> k_cache(nothing, EXPERTILE_F32, {1, 16, 0, head_dim});
    Array<float> v_cache(nothing, EXPERTILE_F32, {1, 16, 0, head_dim});
    Array<int64_t> slot_mapping(slots, EXPERTILE_I64, {tokens});

    expertile_rope_args args{};
    args.struct_size = sizeof args;
    args.pairing = EXPERTILE_PAIRING_INTERLEAVED;
    args.qkv = on_device.tensor;
    args.positions = at.tensor;
    args.inv_freq = frequencies.tensor;
    args.k_cache = k_cache.tensor;
    args.v_cache = v_cache.tensor;
    args.slot_mapping = slot_mapping.tensor;
    check(expertile_rope(device.get(), &args, nullptr, 0, stream.get()));
    driver_wait(stream.get());

    std::vector<float> rotated(q.size());
    driver_read(rotated.data(), on_device.memory.get(), q.size() * sizeof(float));
    double worst = 0;
    for (size_t i = 0; i < q.size(); i += 2) {
        const size_t token = i / size_t(heads * head_dim), pair = i % size_t(head_dim) / 2;
        const float angle = float(positions[token]) * inv_freq[pair];
        const double cosine = std::cos(double(angle)), sine = std::sin(double(angle));
        const double expected[2] = {q[i] * cosine - q[i + 1] * sine, q[i + 1] * cosine + q[i] * sine};
        for (size_t k = 0; k < 2; ++k) {
            const double error = std::fabs(rotated[i + k] - expected[k]);
            if (!(error <= 1e-5)) {
                throw std::runtime_error("found " + std::to_string(rotated[i + k]) + ", expected " +
                                         std::to_string(expected[k]));
            }
            worst = std::fmax(worst, error);
        }
    }
    std::printf("rope on %s: as expected, worst error %.1e\n", is_cuda ? "cuda" : "hip", worst);
}

int main(int count, char **arguments) {
    const std::string platform = count == 2 ? arguments[1] : "";
    if (platform != "cuda" && platform != "hip") {
        std::fprintf(stderr, "usage: rope cuda|hip\n");
        return 2;
    }
    try {
        run(platform == "cuda");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
