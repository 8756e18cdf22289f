"""Bytes from the worst neighbours: to the HTTP port, as answers of nameservers, as replies of registrars.

`make fuzz` runs all three for half an hour, answers of nameservers by atheris, which is guided by coverage. The tests
run such inputs in small, with fixed seeds (tests/integration/test_fuzz_bytes.py).
"""
