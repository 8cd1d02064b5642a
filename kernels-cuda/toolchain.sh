#!/bin/sh
# Installs what the CUDA build and its tests need into .toolchain of the repository: NVIDIA's
# compiler if there is none of release 13, and libclang for bindgen if there is none. `toolchain.sh numpy`
# installs NumPy there, for the example in Python, if python3 has none.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cuda=$root/.toolchain/cuda
libclang=$root/.toolchain/libclang

# cuobjdump and nvdisasm have no release before 13.2; they read what 13.0 makes.
cuda_packages="nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-crt==13.0.*
nvidia-cuda-runtime==13.0.* nvidia-cuda-cccl==13.0.*
nvidia-cuda-cuobjdump==13.2.51 nvidia-cuda-nvdisasm==13.2.51"
libclang_packages="libclang==18.1.1"
numpy_packages="numpy>=1.26"

fail() {
    echo "error: $1" >&2
    exit 1
}

# find_pip: sets $pip to a command; makes a virtual environment if the system has no pip.
find_pip() {
    command -v python3 >/dev/null || fail "no python3 to install compilers with (Debian: python3 python3-venv)"
    if python3 -m pip --version >/dev/null 2>&1; then
        pip="python3 -m pip"
        return
    fi
    environment=$root/.toolchain/python
    if ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$environment"
        python3 -m venv "$environment" >/dev/null 2>&1 ||
            fail "python3 has neither pip nor venv (Debian: python3-venv)"
    fi
    pip="$environment/bin/python -m pip"
}

# install FOLDER PACKAGES: the folder is there whole, with a stamp, or not at all.
install() {
    if [ "$(cat "$1/installed" 2>/dev/null)" = "$2" ]; then
        return
    fi
    find_pip
    echo "installing $(echo $2 | tr '\n' ' ')"
    rm -rf "$1.new"
    set -f
    # shellcheck disable=SC2086
    $pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --target "$1.new" $2 || fail "pip could not install: $(echo $2)"
    set +f
    echo "$2" >"$1.new/installed"
    rm -rf "$1"
    mv "$1.new" "$1"
}

is_release_13() {
    case $("$1" --version 2>/dev/null) in
    *"release 1"[3-9]*) return 0 ;;
    *) return 1 ;;
    esac
}

# Where the build looks too: build/toolchain.rs. A link in place of the folder is the user's own.
has_compiler() {
    if [ -n "${NVCC:-}" ]; then
        is_release_13 "$NVCC" || fail "NVCC=$NVCC is no nvcc of release 13 or later"
        return 0
    fi
    if [ -L "$cuda" ] && is_release_13 "$cuda/nvidia/cu13/bin/nvcc"; then
        return 0
    fi
    for nvcc in nvcc "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" /usr/local/cuda/bin/nvcc; do
        if is_release_13 "$nvcc"; then
            return 0
        fi
    done
    return 1
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    PATH=$PATH:/sbin:/usr/sbin
    ldconfig -p 2>/dev/null | grep -Eq 'libclang(-[0-9.]+)?\.so' && return 0
    ls /usr/lib/llvm-*/lib/libclang.so* >/dev/null 2>&1
}

mkdir -p "$root/.toolchain"
if [ "${1:-}" = numpy ]; then
    python3 -c "import numpy" 2>/dev/null || install "$root/.toolchain/numpy" "$numpy_packages"
    exit 0
fi
has_compiler || install "$cuda" "$cuda_packages"
has_libclang || install "$libclang" "$libclang_packages"
