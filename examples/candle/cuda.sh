#!/bin/sh
# The package with candle's own GPU path:
#
#   cuda.sh test     its tests, on a simulated device
#   cuda.sh lint     clippy
#   cuda.sh build    its program, for the GPU kit: target/candle/kit/expertile-candle
#
# candle links CUDA's libraries and compiles kernels of its own for minutes. Neither is needed: stand-ins with the
# libraries' names and functions are linked, and run with on the simulated driver; the kernels, of which these
# operators launch none, are empty. A machine with a GPU needs the libraries of CUDA 13.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$root/target/candle
stubs=$target/stubs
manifest=$here/Cargo.toml

fail() {
    echo "error: candle: $1" >&2
    exit 1
}

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
cc -shared -o "$stubs/link/libcudart.so" -x c /dev/null

# What candle would compile its kernels for.
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
build)
    empty cargo build --bin expertile-candle "$@"
    # Where a build without the feature does not replace it.
    mkdir -p "$target/kit"
    cp "$target/debug/expertile-candle" "$target/kit/"
    ;;
*) fail "usage: cuda.sh test|lint|build" ;;
esac
