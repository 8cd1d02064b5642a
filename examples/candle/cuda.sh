#!/bin/sh
# The program and its tests with candle's own GPU path, on a simulated device:
#
#   cuda.sh test    quickly: candle's kernels, of which these operators launch none, are empty
#   cuda.sh lint    the same for clippy
#   cuda.sh kit     whole, for the GPU kit, which takes minutes: target/candle-kit/release/expertile-candle
#
# candle links CUDA's libraries. None are needed here: stand-ins with their names and functions are linked in their
# place, and run with on the simulated driver. A machine with a GPU needs those of CUDA 13.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$root/target/candle
[ "${1:-}" = kit ] && target=$root/target/candle-kit
stubs=$target/stubs
manifest=$here/Cargo.toml

fail() {
    echo "error: candle: $1" >&2
    exit 1
}

cuda=
for folder in "$root/.toolchain/cuda/nvidia/cu13" "${CUDA_HOME:-/usr/local/cuda}" /usr/local/cuda; do
    [ -x "$folder/bin/nvcc" ] && cuda=$folder && break
done
[ -n "$cuda" ] || fail "no nvcc: make toolchain"

cudarc=$(cargo metadata --locked --format-version 1 --manifest-path "$manifest" --features cuda | tr ',' '\n' |
    sed -n 's|.*"manifest_path":"\(.*/cudarc-[^"]*\)/Cargo.toml".*|\1|p')
[ -d "$cudarc/src" ] || fail "no sources of cudarc in $cudarc"

# stub FOLDER NAME RELEASE BINDINGS: a library with the functions that the bindings name, all of which succeed.
stub() {
    mkdir -p "$stubs/$1"
    name='\(cu[A-Za-z0-9_]*\|nvrtc[A-Za-z0-9_]*\)'
    sed -n "s/^ *fn $name(.*/int \1(void) { return 0; }/p" "$cudarc/src/$4/sys/mod.rs" | sort -u >"$stubs/$2.c"
    [ -s "$stubs/$2.c" ] || fail "no functions in cudarc's bindings of $4"
    cc -shared -w -fno-builtin -Wl,-soname,"lib$2.so.$3" -o "$stubs/$1/lib$2.so.$3" "$stubs/$2.c"
    ln -sf "lib$2.so.$3" "$stubs/$1/lib$2.so"
}

# The driver's is linked, and the simulated one run.
stub link cuda 1 driver
stub run cublas 13 cublas
stub run cublasLt 13 cublaslt
stub run curand 10 curand
stub run nvrtc 13 nvrtc
cudart=$(ls "$cuda"/lib*/libcudart.so.13 | head -n 1)
ln -sf "$cudart" "$stubs/run/libcudart.so.13"
ln -sf libcudart.so.13 "$stubs/run/libcudart.so"

# PTX of compute_80 runs on every later device.
export CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000 LIBRARY_PATH="$stubs/link:$stubs/run"

# simulated COMMAND...: with the stand-ins, on a simulated device.
simulated() {
    (cd "$root" && cargo build --quiet --release -p expertile-simulator)
    LD_LIBRARY_PATH=$stubs/run EXPERTILE_REQUIRE=cuda "$root/target/release/simulate" sm_90a "$@"
}

# empty COMMAND...: with empty kernels.
empty() {
    mkdir -p "$stubs/bin"
    ln -sf "$here/nvcc.sh" "$stubs/bin/nvcc"
    PATH=$stubs/bin:$PATH "$@"
}

command=${1:-}
set -- --locked --features cuda --manifest-path "$manifest" --target-dir "$target"
case $command in
test) empty simulated cargo test "$@" ;;
lint) empty cargo clippy "$@" --all-targets -- -D warnings ;;
kit)
    CUDA_HOME=$cuda NVCC=$cuda/bin/nvcc cargo build --release --bin expertile-candle "$@"
    simulated "$target/release/expertile-candle"
    ;;
*) fail "usage: cuda.sh test|lint|kit" ;;
esac
