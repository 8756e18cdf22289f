"""Registrars, each behind one small protocol: `adapters.base` has the contract, `adapters.all` the list.

A library of its own: it knows nothing of the service that uses it.
"""
