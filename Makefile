# The two commands a newcomer needs: `make demo` and `make test`.
# `make setup` installs what is missing (libclang, which RocksDB's bindings need).

CARGO ?= cargo

.PHONY: help demo test setup lint interop

help:
	@echo "make demo   build in release and run the ad-click demo on real impressions"
	@echo "make test   build and run every test"
	@echo "make interop  run foreign Kafka clients and tools against a broker (see interop/README.md)"
	@echo "make lint   rustfmt and clippy, as CI runs them"
	@echo "make setup  install what is missing on a Debian machine (libclang)"

setup:
	@./tools/setup

demo: setup
	$(CARGO) run --release --locked -p thalweg -- demo ad-clicks

test: setup
	$(CARGO) test --workspace --locked

lint:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

interop: setup
	CARGO="$(CARGO)" ./interop/run $(INTEROP)
	$(CARGO) test --workspace --locked --test client_kafka --test differential_kafka --test storage_kafka -- --ignored --nocapture
