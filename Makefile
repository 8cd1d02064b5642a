# Every test of the repository: make test. Nothing but a Rust toolchain is needed.

# Both are features of the reference; the examples and benches use them.
FEATURES := expertile-reference/checkpoint,expertile-reference/fast

.PHONY: test test-deep toolchain prebuilt lint bench peers

test: toolchain lint
	cargo test --release --workspace --features $(FEATURES)
	cargo test --release --workspace --benches --features $(FEATURES)

# The same checks on many more samples.
test-deep: toolchain lint
	PROPTEST_CASES=4096 cargo test --release --workspace --features $(FEATURES)

# The reference is linted without its features too: the operators must build alone.
lint: toolchain
	cargo fmt --all --check
	cargo clippy --release -p expertile-reference -- -D warnings
	cargo clippy --release --workspace --all-targets --features $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace --features $(FEATURES)

# Installs what a clean machine lacks, and says in one line what it cannot install.
toolchain:
	@command -v cargo >/dev/null || { echo "error: no cargo: install Rust 1.88 or later"; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	@command -v cc >/dev/null || { echo "error: no cc: Rust needs a linker (Debian: gcc)"; exit 1; }
	@sh kernels-cuda/toolchain.sh

# The compiled kernels and the hashes of their sources, for a package that needs no compiler.
prebuilt: toolchain
	cargo run --release -p expertile-kernels-cuda --example prebuilt -- kernels-cuda/prebuilt

bench: toolchain
	cargo bench --bench operators
	cargo bench --bench dbrx

# The CPU peer; needs Python with torch, transformers, safetensors, tokenizers.
peers:
	python3 benches/peers/transformers_cpu.py
