// Kernels for tests/simulate_kernel.rs, of both vendors.

KERNEL scale(float *data, float factor, int count) {
    int i = BLOCK * THREADS + THREAD;
    if (i < count)
        data[i] *= factor;
}

struct Inner {
    short shift;
    unsigned char add;
};

struct Params {
    unsigned char negate;
    const float *from;
    Inner inner;
    long long bias;
};

KERNEL combine(Params p, float *to) {
    float value = p.from[THREAD] + float(p.inner.shift) + float(p.inner.add) + float(int(p.bias));
    to[THREAD] = p.negate ? -value : value;
}

KERNEL sum(const float *a, const float *b, float *out) {
    out[THREAD] = a[THREAD] + b[THREAD];
}

// A race.
KERNEL one_cell(int *cell) {
    if (THREAD == 0)
        *cell = BLOCK;
}

// No race, but the order is that of the schedule.
KERNEL arrivals(int *order, int *count) {
    if (THREAD == 0)
        order[NEXT(count)] = BLOCK;
}
