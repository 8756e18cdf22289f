"""How far a delegation has come, found out by asking from the root down.

`watch` observes what is due or asked for and draws the conclusions; `observe` collects, by the questions of a
`prober` round; `answers` says what a reply means; `verdict` judges (pure); `unserved` says what
is missing while a domain is only claimed (pure).
"""
