"""Devices: one module a backend, and the toolchain that compiles for them."""
