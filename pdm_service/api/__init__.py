"""HTTP: parse, call a verb of the allocator, answer. Nothing is decided here.

Routes: `check`, `verbs`, `allocations`, `lists`, `domains`, `platform`, `registrars`, `compat`, `health`. For all of
them: `edge` (around every request), `access` (which scope a route needs), `problems` (errors as RFC 9457), `replies`
(how an allocation is shown).
"""
