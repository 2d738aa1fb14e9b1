# What people do with this repository, one word each. `just` alone lists them. Every recipe is one command that can be
# typed without just: https://just.systems (cargo install just).

_list:
    @just --list --unsorted

# Try it: a Box in the process with the gateway in front, on http://127.0.0.1:8080
sandbox *options:
    cargo run --release --locked -- sandbox {{ options }}

# The program as it is deployed, in target/release
build *options:
    cargo build --release --locked {{ options }}

# Every test, or those whose names contain a word: just test --test it budgets
test *arguments:
    tests/run {{ arguments }}

# What must hold before a change is taken over, or some parts of it: just ci clippy format
ci *parts:
    .ci/run {{ parts }}

# What is published of a version, in dist/: archive, Debian package, bill of materials, checksums
release *options:
    deploy/release {{ options }}

# The image, with its labels; arguments are passed on to docker build
image *options:
    deploy/image {{ options }}

# Lay the code out
fmt:
    cargo fmt

# Mistakes that the compiler lets pass
lint:
    .ci/run clippy clippy-without-sandbox

# The code's own documentation, in target/doc
doc:
    .ci/run documentation

# Measure: what rules cost (operation), what a request costs by itself and in a tunnel (tunnel)
bench name="operation" *options:
    cargo bench --locked --bench {{ name }} {{ options }}

# Measure beside nginx and HAProxy, with the program that `just build` makes
compare *options:
    bench/compare {{ options }}

# Measure HTTP/2 beside HTTP/1.1 to a Box that is far away, with the program that `just build` makes
delay *options:
    bench/delay {{ options }}

# Count how the cost of a request grows with apps, limits, origins and the like, with the program that `just build` makes
growth *rows:
    bench/growth {{ rows }}

# Measure memory, idle and with idle callers, with the program that `just build` makes
memory *options:
    bench/memory {{ options }}

# Large programs that have Box's hosts built in, or some of them: just tools langchain
tools *names:
    tests/clients/tools {{ names }}

# The list of Box's operations anew, from a folder with its OpenAPI documents
operations folder:
    tests/operations/derive {{ folder }}
