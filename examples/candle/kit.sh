#!/bin/sh
# Builds the program with candle's own GPU path: target/candle-kit/release/expertile-candle, for the GPU kit. candle
# links CUDA's libraries, of which this machine needs none: stand-ins with their names and symbols are linked in
# their place. The machine with the GPU needs them, of CUDA 13.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
target=$root/target/candle-kit
stubs=$target/stubs
manifest=$root/examples/candle/Cargo.toml

fail() {
    echo "error: candle-kit: $1" >&2
    exit 1
}

# As kernels-cuda/build/toolchain.rs finds it.
cuda=
for folder in "$root/.toolchain/cuda/nvidia/cu13" "${CUDA_HOME:-/usr/local/cuda}" /usr/local/cuda; do
    [ -x "$folder/bin/nvcc" ] && cuda=$folder && break
done
[ -n "$cuda" ] || fail "no nvcc: make toolchain"

cudarc=$(cargo metadata --locked --format-version 1 --manifest-path "$manifest" --features cuda | tr ',' '\n' |
    sed -n 's|.*"manifest_path":"\(.*/cudarc-[^"]*\)/Cargo.toml".*|\1|p')
[ -d "$cudarc/src" ] || fail "cudarc's bindings are not in $cudarc"

# stub NAME SONAME BINDINGS: a library that has the functions which the bindings name.
stub() {
    sed -n 's/^ *fn \(cu[A-Za-z0-9_]*\|nvrtc[A-Za-z0-9_]*\)(.*/void \1(void) {}/p' "$cudarc/src/$3/sys/mod.rs" |
        sort -u >"$stubs/$1.c"
    [ -s "$stubs/$1.c" ] || fail "no functions in cudarc's bindings of $3"
    cc -shared -w -fno-builtin -Wl,-soname,"$2" -o "$stubs/lib$1.so" "$stubs/$1.c"
}

mkdir -p "$stubs"
stub cuda libcuda.so.1 driver
stub cublas libcublas.so.13 cublas
stub cublasLt libcublasLt.so.13 cublaslt
stub curand libcurand.so.10 curand
stub nvrtc libnvrtc.so.13 nvrtc
ln -sf "$(ls "$cuda"/lib*/libcudart.so.13 | head -n 1)" "$stubs/libcudart.so"

# candle's kernels: compute_80 runs on every later device, by PTX.
CUDA_HOME=$cuda NVCC=$cuda/bin/nvcc CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=80 LIBRARY_PATH=$stubs \
    cargo build --locked --release --features cuda --bin expertile-candle --manifest-path "$manifest" --target-dir "$target"
