#!/bin/sh
# Installs what the HIP build and its tests need, where apt-get can: a clang that compiles for AMD's
# GPUs, its linker, and the disassembler of the gates.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

# The same questions as in build/toolchain.rs.
is_suitable() {
    release=$("$1" --version 2>/dev/null | sed -n '1s/.*clang version \([0-9]*\)\..*/\1/p')
    [ "${release:-0}" -ge 19 ] || return 1
    processors=$("$1" --target=amdgcn-amd-amdhsa --print-supported-cpus 2>&1) || return 1
    for architecture in gfx90a gfx942 gfx950; do
        echo "$processors" | grep -Eq "^[[:space:]]*$architecture\$" || return 1
    done
    [ -f "$("$1" -print-prog-name=ld.lld)" ]
}

has_compiler() {
    if [ -n "${HIP_CLANG:-}" ]; then
        is_suitable "$HIP_CLANG" ||
            fail "HIP_CLANG=$HIP_CLANG is no clang of release 19 or later, with lld, for gfx950"
        return 0
    fi
    for clang in ${ROCM_PATH:+"$ROCM_PATH/llvm/bin/clang++"} /opt/rocm/llvm/bin/clang++ \
        clang-22 clang-21 clang-20 clang-19 clang; do
        if is_suitable "$clang"; then
            return 0
        fi
    done
    return 1
}

has_compiler && exit 0
packages="clang-22 lld-22 llvm-22"
remedy="install clang 22, lld 22 and llvm 22 (Debian: $packages), or set HIP_CLANG to ROCm's clang"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "no clang that compiles for gfx950: $remedy"
fi
echo "installing $packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ apt-get update && apt-get install -y --no-install-recommends $packages; } >/dev/null 2>&1 ||
    fail "apt-get could not install $packages: $remedy"
has_compiler || fail "what apt-get installed does not compile for gfx950: $remedy"
