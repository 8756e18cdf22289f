"""What `adapters.base` promises, as tests that the author of any adapter can run; docs/write-a-registrar-adapter.md."""
