__attribute__((device, always_inline)) inline void store(int *data, int i) {
    data[i + 1] = i;                                          // fault: in_a_header
}
