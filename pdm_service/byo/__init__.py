"""A customer's domain moves to the platform, and back.

`survey` collects for the pre-flight (`preflight`, pure): the delegation, the `old_zone`, the registry by `rdap`.
`flip` and `rollback` have the steps, `registrar_change` one change at a registrar, `imports` what is taken along,
`zonefile` the same as a file, `presentation` how PowerDNS wants records written, `budgets` how long each may take.
"""
